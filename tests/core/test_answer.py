"""What an answer that is no stream says, and what of it a client may see."""

from __future__ import annotations

import json

import pytest

from gateway.core.answer import check_stream, message_of, refusal, returned_headers
from gateway.core.errors import UpstreamCredential, UpstreamMalformed, UpstreamRefused
from tests.support.recordings import RECORDINGS, miss

NOW = 1_764_000_000.0


def test_clients_see_what_is_about_their_request_and_nothing_about_the_operators_account():
    told = {
        "request-id": "req_01",
        "retry-after": "7",
        "retry-after-ms": "7000",
        "x-should-retry": "true",
        "anthropic-version": "2023-06-01",
        "anthropic-something-new": "1",
    }
    kept = {
        "anthropic-organization-id": "org",
        "anthropic-workspace-id": "wrkspc",
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-unified-status": "allowed",
        "anthropic-priority-input-tokens-limit": "1",
        "anthropic-fast-output-tokens-remaining": "1",
        "anthropic-fast-input-tokens-reset": "1",
        "set-cookie": "a=b",
        "server": "cloudflare",
        "content-type": "application/json",
        "content-encoding": "gzip",
        "cf-ray": "1",
        "x-envoy-upstream-service-time": "17",
    }
    assert returned_headers(told | kept) == told


def body(kind="not_found_error", message="model: claude-x", **more):
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, **more}).encode()


def test_a_refusal_is_kept_as_it_came():
    raw = b' {"type":"error","error":{"type":"rate_limit_error","message":"Slow down","new":1},"request_id":"req_1"}'
    headers = {"retry-after": "7", "anthropic-ratelimit-tokens-limit": "9"}
    error = refusal(429, headers, raw, NOW)
    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.claude_type, error.message) == (429, "rate_limit_error", "Slow down")
    assert (error.retry_after, error.retryable, error.body) == (7.0, True, raw)
    assert error.headers == {"retry-after": "7"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>Bad gateway: secret.internal</html>",
        b"upstream connect error: secret.internal",
        b"[]",
        b'{"error": "secret.internal"}',
        b'{"type":"error","error":{"type":"api_error"}}',
        b'{"type":"error","error":{"message":7,"type":"api_error"}}',
        b'{"error":{"type":"api_error","message":7}}',
        b'{"kind": "empty"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_not_in_claudes_shape_is_replaced(raw):
    error = refusal(502, {}, raw, NOW)
    assert (error.status, error.claude_type, error.body) == (502, "api_error", None)
    assert error.message == "Claude answered with status 502."


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (401, body("authentication_error", "secret")),
        (401, b"<html>secret</html>"),
        (402, body("billing_error", "secret")),
        (403, body("permission_error", "secret")),
        (400, body("invalid_request_error", "Your credit balance is too low, see secret")),
    ],
)
def test_a_refusal_of_our_credential_is_our_fault(status, raw):
    error = refusal(status, {"x-should-retry": "false"}, raw, NOW)
    assert isinstance(error, UpstreamCredential)
    assert (error.status, error.claude_type, error.retryable) == (502, "api_error", False)
    assert "secret" not in error.message
    assert str(status) in error.detail


@pytest.mark.parametrize("status", [101, 204, 206, 301, 304])
def test_an_answer_that_is_neither_good_nor_an_error_is_not_understood(status):
    error = refusal(status, {}, body(), NOW)
    assert isinstance(error, UpstreamMalformed)
    assert str(status) in error.detail


def test_every_recorded_error_is_understood():
    recorded = RECORDINGS / "errors.jsonl"
    if not recorded.exists():
        miss()
    lines = recorded.read_text().splitlines()
    for line in lines:
        answer = json.loads(line)
        error = refusal(answer["status"], {}, answer["body"].encode(), NOW)
        if answer["status"] in {401, 402, 403}:
            assert error.status == 502
            assert "key" not in error.message
            continue
        told = json.loads(answer["body"]).get("error", {})
        assert error.status == answer["status"]
        assert error.message == told.get("message", "Claude answered with status 404.")
        assert error.body == (answer["body"].encode() if told else None)


def test_a_message_is_an_object():
    assert message_of(b'{"type": "message"}') == {"type": "message"}
    for raw in (b"", b"[]", b"<html>", b'"message"', b"[" * 100_000):
        with pytest.raises(UpstreamMalformed):
            message_of(raw)


def test_an_error_with_a_good_status_is_an_error():
    with pytest.raises(UpstreamRefused) as caught:
        message_of(body("overloaded_error", "Overloaded"))
    assert (caught.value.status, caught.value.message) == (529, "Overloaded")
    with pytest.raises(UpstreamCredential):
        message_of(body("authentication_error", "secret"))


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/event-stream"},
        {"content-type": "text/event-stream; charset=utf-8"},
        {"content-type": " Text/Event-Stream ;x", "content-encoding": "Identity"},
        {"content-type": "text/event-stream", "content-encoding": ""},
    ],
)
def test_a_plain_stream_of_events_is_taken(headers):
    check_stream(headers)


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({}, "content-type ''"),
        ({"content-type": "text/html; charset=utf-8"}, "content-type 'text/html'"),
        ({"content-type": "application/json"}, "content-type 'application/json'"),
        ({"content-type": "text/event-stream", "content-encoding": "gzip"}, None),
    ],
)
def test_anything_else_is_no_stream(headers, detail):
    with pytest.raises(UpstreamMalformed) as caught:
        check_stream(headers)
    assert caught.value.detail == detail
