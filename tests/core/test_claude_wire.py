"""Claude's wire beside its streams: error objects, JSON with halves of characters, statuses."""

from __future__ import annotations

import json

import pytest

from gateway.core.claude import dump_text, error_from_claude, load_json, retryable_status, well_formed
from gateway.core.errors import UpstreamCredential


@pytest.mark.parametrize(
    ("body", "status", "kind", "told", "retryable"),
    [
        ({"error": {"type": "rate_limit_error", "message": "m"}}, 429, "rate_limit_error", 429, True),
        ({"error": {"type": "rate_limit_error", "message": "m"}}, None, "rate_limit_error", 429, True),
        ({"error": {"type": "overloaded_error", "message": "m"}}, 503, "overloaded_error", 503, True),
        (None, 400, "invalid_request_error", 400, False),
        (None, 408, "invalid_request_error", 408, True),
        (None, 409, "conflict_error", 409, True),
        (None, 413, "request_too_large", 413, False),
        (None, 422, "invalid_request_error", 422, False),
        (None, 502, "api_error", 502, True),
        (None, 529, "overloaded_error", 529, True),
        ([], None, "api_error", 500, True),
    ],
)
def test_a_status_fills_in_for_what_the_body_lacks(body, status, kind, told, retryable):
    error = error_from_claude(body, status, retry_after=7.0)
    assert (error.claude_type, error.status, error.retryable, error.retry_after) == (kind, told, retryable, 7.0)


@pytest.mark.parametrize(
    ("kind", "message", "status"),
    [
        ("authentication_error", "invalid x-api-key", 401),
        ("authentication_error", "invalid x-api-key", None),
        ("billing_error", "secret", None),
        ("permission_error", "secret", 403),
        ("api_error", "secret", 402),
        ("invalid_request_error", "Your credit balance is too low to access the Anthropic API.", 400),
    ],
)
def test_what_is_wrong_with_our_credential_is_not_told_to_clients(kind, message, status):
    error = error_from_claude({"type": "error", "error": {"type": kind, "message": message}}, status)
    assert isinstance(error, UpstreamCredential)
    assert (error.status, error.retryable, error.claude_type) == (502, False, "api_error")
    assert message not in error.message
    assert message in error.detail


def test_a_message_with_half_a_character_can_be_encoded():
    assert error_from_claude({"error": {"message": "No \ud83d"}}).message == "No \ufffd"


# JSON.


def test_json_is_read_with_halves_of_characters():
    assert load_json(b'{"text": "\\ud83d"}') == {"text": "\ud83d"}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[DONE]", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"9" * 5000 + b"\xff"]
)
def test_what_is_not_json_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"."):
        load_json(data)


@pytest.mark.parametrize("text", ["", "Hi", 'He said "no"\n', "日本語 🙂", "\u2028", "\ud83d", "a\ude42b"])
def test_text_survives_encoding(text):
    encoded = dump_text(text)
    assert b"\n" not in encoded
    assert json.loads(encoded) == text


@pytest.mark.parametrize(
    ("text", "encodable"),
    [
        ("日本語 🙂", "日本語 🙂"),
        ("\ud83d", "\ufffd"),
        ("\ud83d\ude42", "🙂"),
        ("\ude42\ud83d", "\ufffd\ufffd"),
        ("", ""),
    ],
)
def test_halves_of_a_character_are_joined_or_replaced(text, encodable):
    assert well_formed(text) == encodable


@pytest.mark.parametrize(
    ("status", "again"), [(400, False), (408, True), (409, True), (429, True), (499, False), (500, True), (529, True)]
)
def test_statuses_that_the_sdks_retry(status, again):
    assert retryable_status(status) is again
