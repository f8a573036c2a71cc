"""Errors on Claude's own routes: Claude's as they came, ours in Claude's shape, none that shows the operator's account."""

from __future__ import annotations

import json

import pytest

from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import HELLO, answer, scripted_upstream, stream

ASK = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/messages"
SERVED = "POST /v1/messages, POST /v1/messages/count_tokens, GET /v1/models, GET /v1/models/{id}"
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
OURS = {401, 402, 403}
NO_RETRIES = {"retries": 0}


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


async def refused(caller, body=None, path=PATH, method="POST", **headers):
    """Return an answer in Claude's shape, with its status and headers."""
    kind = {"data": body} if isinstance(body, bytes) else {"json": body or ASK}
    kind = kind if method == "POST" else {}
    url = caller.gateway.url + path
    async with caller.session.request(method, url, headers={**caller.headers, **headers}, **kind) as response:
        told = json.loads(await response.read())
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Request-Id"]
    assert set(told) == {"type", "error", "request_id"}
    assert told["type"] == "error"
    assert set(told["error"]) == {"type", "message"}
    assert told["request_id"] == response.headers["request-id"]
    return response.status, response.headers, told["error"]


# Claude's own errors.


@pytest.mark.parametrize("status", sorted(set(KINDS) - OURS))
@pytest.mark.parametrize("streamed", [True, False])
async def test_claudes_errors_arrive_as_they_came(shop, status, streamed):
    error = {"type": KINDS[status], "message": "No: ü", "a_field_of_tomorrow": [1.0]}
    body = json.dumps({"type": "error", "error": error, "request_id": "req_claude"}, indent=1).encode()
    headers = (
        b"content-type: application/json",
        b"retry-after: 7",
        b"x-should-retry: false",
        b"anthropic-organization-id: o",
    )
    async with (
        scripted_upstream(answer(status, body, *headers)) as claude,
        shop(claude) as caller,
        caller.post(PATH, {**ASK, "stream": streamed}) as response,
    ):
        assert await response.read() == body
    assert response.status == status
    assert response.headers["request-id"] == "req_claude"
    assert response.headers["X-Request-Id"] != "req_claude"
    assert response.headers["Retry-After"] == "7"
    assert response.headers["x-should-retry"] == "false"
    assert "anthropic-organization-id" not in response.headers
    assert len(claude.requests) == 1


@pytest.mark.parametrize("status", sorted(OURS))
@pytest.mark.parametrize("path", [PATH, "/v1/messages/count_tokens"])
async def test_a_refusal_of_our_key_is_a_502_that_says_nothing_of_it(shop, status, path):
    body = json.dumps({"type": "error", "error": {"type": KINDS[status], "message": "sk-ant-secret"}}).encode()
    async with scripted_upstream(answer(status, body)) as claude, shop(claude) as caller:
        got, headers, error = await refused(caller, path=path)
    assert got == 502
    assert error["type"] == "api_error"
    assert "sk-ant" not in error["message"]
    assert "key" not in error["message"]
    assert headers["request-id"] == headers["X-Request-Id"]
    assert headers["x-should-retry"] == "false"
    assert len(claude.requests) == 1


async def test_no_credit_is_our_fault_too_although_claude_calls_it_a_bad_request(shop):
    message = "Your credit balance is too low to access the Anthropic API."
    body = json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": message}}).encode()
    async with scripted_upstream(answer(400, body)) as claude, shop(claude) as caller:
        got, _, error = await refused(caller)
    assert got == 502
    assert "credit" not in error["message"]


@pytest.mark.parametrize("status", [400, 404, 413, 429, 500, 502, 503, 529])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html><h1>502 Bad Gateway secret</h1></html>", id="html"),
        pytest.param(b"upstream connect error secret", id="text"),
        pytest.param(b"", id="empty"),
        pytest.param(b'{"detail":"secret"}', id="other"),
        pytest.param(b'{"type":"error"}', id="no error"),
        pytest.param(b'{"type":"error","error":{}}', id="no fields"),
        pytest.param(b'{"error":{"type":"secret_error","message":""}}', id="no message"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"\xff\xfe", id="bytes"),
    ],
)
async def test_what_is_no_error_of_claudes_is_told_in_claudes_shape(shop, status, body):
    script = answer(status, body, b"content-type: text/html", b"retry-after: 9")
    async with scripted_upstream(script) as claude, shop(claude, upstream=NO_RETRIES) as caller:
        got, headers, error = await refused(caller)
    assert got == status
    assert error["type"] == KINDS[status]
    assert error["message"]
    assert "secret" not in error["message"]
    assert headers["Retry-After"] == "9"
    assert headers["request-id"] == "req_claude"


@pytest.mark.parametrize("encoding", [b"br", b"gzip", b"of-tomorrow"])
async def test_an_error_whose_body_cannot_be_read_keeps_its_status(shop, encoding):
    script = answer(529, b"\x1f\x8b damaged", b"content-encoding: " + encoding)
    async with scripted_upstream(script) as claude, shop(claude, upstream=NO_RETRIES) as caller:
        got, _, error = await refused(caller)
    assert (got, error["type"]) == (529, "overloaded_error")


@pytest.mark.parametrize(("size", "read"), [(500, True), (501, False)])
async def test_an_error_whose_body_is_over_the_limit_keeps_its_status(shop, size, read):
    said = b'{"type":"error","error":{"type":"not_found_error","message":"of Claude"},"request_id":"req_claude"}'
    script = answer(404, said.ljust(size))
    async with scripted_upstream(script) as claude, shop(claude, upstream={"max_refusal": 500}) as caller:
        got, _, error = await refused(caller)
    assert (got, error["type"]) == (404, "not_found_error")
    assert (error["message"] == "of Claude") is read


async def test_an_error_whose_body_is_cut_keeps_its_status(shop):
    async def script(peer):
        await peer.send(b'HTTP/1.1 404 Not Found\r\ncontent-length: 500\r\n\r\n{"type":')
        peer.writer.close()

    async with scripted_upstream(script) as claude, shop(claude) as caller:
        got, _, error = await refused(caller)
    assert (got, error["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (answer(302, b"", b"location: /x"), 502),
        (answer(200, b"<html>", b"content-type: text/html"), 502),
        (answer(200, b'{"type":"message"'), 502),
        (answer(200, b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}'), 529),
    ],
)
async def test_an_answer_that_is_none_is_an_error_of_claudes_shape(shop, script, status):
    async with (
        scripted_upstream(script) as claude,
        shop(claude, upstream=NO_RETRIES) as caller,
        caller.post(PATH, ASK) as response,
    ):
        told = await response.json()
    assert response.status == status
    assert told["type"] == "error"


async def test_an_unreachable_claude_is_an_api_error(tmp_path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1", upstream=NO_RETRIES)) as caller:
        got, headers, error = await refused(caller)
    assert got == 502
    assert error["type"] == "api_error"
    assert "x-should-retry" not in headers


async def test_a_stream_asked_for_that_begins_with_an_answer_of_another_kind_is_an_error(shop):
    async with scripted_upstream(answer(200, b"{}")) as claude, shop(claude, upstream=NO_RETRIES) as caller:
        got, _, error = await refused(caller, {**ASK, "stream": True})
    assert (got, error["type"]) == (502, "api_error")


async def test_after_the_commit_an_error_is_an_event(shop):
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Over"}}'
    async with (
        scripted_upstream(answer(529, body)) as claude,
        shop(claude, server={"commit_after": 0}, upstream=NO_RETRIES) as caller,
        caller.post(PATH, {**ASK, "stream": True}) as response,
    ):
        told = await response.read()
    assert response.status == 200
    start = b":\n\nevent: error\ndata: "
    assert told.startswith(start)
    error = json.loads(told.removeprefix(start))
    assert error["error"] == {"type": "overloaded_error", "message": "Over"}
    assert error["request_id"] == response.headers["X-Request-Id"]


# Our own errors.


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches/x/results"),
        ("POST", "/v1/files"),
        ("GET", "/v1/files/file_1/content"),
        ("POST", "/v1/complete"),
        ("GET", "/v1"),
        ("GET", "/v1/messages/"),
    ],
)
async def test_a_route_that_is_not_served_is_a_404_that_names_those_that_are(shop, method, path):
    async with scripted_upstream() as claude, shop(claude) as caller:
        got, _, error = await refused(caller, path=path, method=method)
    assert got == 404
    assert error["type"] == "not_found_error"
    assert SERVED in error["message"]
    assert not claude.requests


async def test_another_method_is_a_405_that_names_the_right_one(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        got, headers, error = await refused(caller, method="DELETE")
    assert got == 405
    assert headers["Allow"] == "POST"
    assert error["type"] == "invalid_request_error"


async def test_no_key_and_a_wrong_key_are_401s(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        for headers in ({"authorization": ""}, {"authorization": "Bearer sk-ant-api03-x"}):
            got, sent, error = await refused(caller, **headers)
            assert got == 401
            assert error["type"] == "authentication_error"
            assert sent["WWW-Authenticate"] == "Bearer"
    assert not claude.requests


async def test_two_different_keys_are_a_400(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        got, _, error = await refused(caller, **{"x-api-key": "tw_other"})
    assert (got, error["type"]) == (400, "invalid_request_error")


async def test_a_suspended_tenant_is_a_403(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        caller.gateway.store.suspend("acme")
        await caller.gateway.services.directory.synchronise()
        got, headers, error = await refused(caller)
    assert (got, error["type"]) == (403, "permission_error")
    assert headers["x-should-retry"] == "false"


async def test_a_reached_limit_is_a_429_with_its_time(shop):
    async with (
        scripted_upstream(stream(HELLO)) as claude,
        shop(claude, plans={"default": {"requests_per_minute": 1}}) as caller,
    ):
        async with caller.post(PATH, {**ASK, "stream": True}) as response:
            await response.read()
        got, headers, error = await refused(caller)
    assert (got, error["type"]) == (429, "rate_limit_error")
    assert "tenant-requests-per-minute" in error["message"]
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert headers["RateLimit"].startswith('"tenant-requests-per-minute";r=0;t=')
    assert "x-should-retry" not in headers


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"{}", "model: Field required"),
        (b'{"model":5}', "model"),
        (b'{"model":""}', "model"),
        (b'{"model":"m","max_tokens":5,"stream":"yes"}', "stream"),
        (b'{"model":"m","max_tokens":"5"}', "max_tokens"),
        (b'{"model":"a","max_tokens":5,"model":"b"}', "model"),
    ],
)
async def test_what_we_must_understand_is_checked_and_named(shop, body, said):
    async with scripted_upstream() as claude, shop(claude) as caller:
        got, headers, error = await refused(caller, body or b" ")
    assert (got, error["type"]) == (400, "invalid_request_error")
    assert said in error["message"]
    assert headers["x-should-retry"] == "false"  # as Claude's own; some clients try again after a 401 without it
    assert not claude.requests


async def test_a_gateway_at_its_limit_is_an_overload_that_may_be_tried_again(shop):
    async with scripted_upstream() as claude, shop(claude, server={"max_bodies": 10}) as caller:
        got, headers, error = await refused(caller)
    assert (got, error["type"]) == (503, "overloaded_error")
    assert headers["Retry-After"] == "1"
    assert "x-should-retry" not in headers
