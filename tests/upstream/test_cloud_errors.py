"""What clouds say when they refuse, in Claude's words."""

from __future__ import annotations

import json

import pytest

from gateway.core.claude import STATUS_OF_TYPE, error_from_claude
from gateway.core.errors import UpstreamCredential
from gateway.upstream.cloud_errors import body_of, error_of, headers_of, hidden, refusal_of


@pytest.mark.parametrize(
    ("status", "name", "expected"),
    [
        (429, "ThrottlingException", (429, "rate_limit_error")),
        (429, "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/", (429, "rate_limit_error")),
        (429, "ModelNotReadyException", (529, "overloaded_error")),
        (400, "ServiceQuotaExceededException", (429, "rate_limit_error")),
        (400, "ValidationException", (400, "invalid_request_error")),
        (400, "com.amazon.coral.service#ExpiredTokenException", (401, "authentication_error")),
        (403, "AccessDeniedException", (403, "permission_error")),
        (403, "UnrecognizedClientException", (401, "authentication_error")),
        (404, "ResourceNotFoundException", (404, "not_found_error")),
        (408, "ModelTimeoutException", (504, "timeout_error")),
        (424, "ModelErrorException", (500, "api_error")),
        (500, "InternalServerException", (500, "api_error")),
        (503, "ServiceUnavailableException", (529, "overloaded_error")),
        (400, "", (400, "invalid_request_error")),
        (401, "", (401, "authentication_error")),
        (404, "", (404, "not_found_error")),
        (408, "", (504, "timeout_error")),
        (413, "", (413, "request_too_large")),
        (418, "TeapotException", (418, "invalid_request_error")),
        (424, "", (500, "api_error")),
        (429, "", (429, "rate_limit_error")),
        (502, "", (502, "api_error")),
        (503, "", (529, "overloaded_error")),
        (529, "", (529, "overloaded_error")),
    ],
)
def test_a_status_and_a_name_become_claudes(status, name, expected):
    assert refusal_of(status, name) == expected
    assert expected[1] in STATUS_OF_TYPE


def told(body: bytes, status: int = 429, secrets: tuple[str, ...] = ()) -> str:
    decoded = json.loads(body_of(body, status, "rate_limit_error", secrets))
    assert decoded["type"] == "error"
    assert decoded["error"]["type"] == "rate_limit_error"
    message: str = decoded["error"]["message"]
    return message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message":"Too many tokens."}', "Too many tokens."),
        (b'{"Message":"Too many tokens."}', "Too many tokens."),
        (b'{"error":{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED"}}', "Quota exceeded."),
        (b'[{"error":{"code":429,"message":"Quota exceeded."}}]', "Quota exceeded."),
        (b'{"error":"unauthorized"}', "The cloud answered with status 429."),
        (b'{"message":5}', "The cloud answered with status 429."),
        (b"<html>Bad Gateway</html>", "The cloud answered with status 429."),
        (b"[]", "The cloud answered with status 429."),
        (b"", "The cloud answered with status 429."),
        (b'{"message":"half \\ud83d"}', "half \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_the_sentence_for_people_is_found(body, message):
    assert told(body) == message


def test_a_body_in_claudes_shape_stays_as_it_is():
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded","more":1.0},"request_id":"r"}'
    assert body_of(body, 529, "api_error", ()) == body


def test_the_operators_account_is_not_named_to_clients():
    arn = "The model arn:aws:bedrock:eu-west-7:123456789012:inference-profile/abc is not ready."
    assert told(json.dumps({"message": arn}).encode()) == "The model … is not ready."
    path = "Publisher Model `projects/shop-and-sons/locations/x` was not found."
    assert told(json.dumps({"message": path}).encode()) == "Publisher Model `…/locations/x` was not found."


def test_the_operator_is_told_whose_access_it_is_and_no_credential():
    """A refused signature is explained by what was signed, after the first line."""
    text = "User: arn:aws:iam::1:user/shop may not. Token FwoG/hush.\n\nThe Canonical String should have been hush"
    body = body_of(json.dumps({"message": text}).encode(), 403, "permission_error", ["FwoG/hush", ""])
    error = error_from_claude(json.loads(body), 403)
    assert isinstance(error, UpstreamCredential)
    assert error.detail is not None
    assert error.detail.endswith("User: arn:aws:iam::1:user/shop may not. Token ***.")
    assert "arn" not in error.message


def test_secrets_are_hidden_in_a_body_of_claudes_shape_too():
    body = error_of("invalid_request_error", "the token ya29.hush is odd")
    assert b"hush" not in body_of(body, 400, "invalid_request_error", ["ya29.hush"])


def test_a_sentence_is_bounded():
    assert len(error_of("api_error", "x" * 10_000)) < 1100


def test_hiding_nothing_changes_nothing():
    assert hidden("text", ["", ""]) == "text"


def test_of_the_headers_only_what_retries_and_support_need_is_kept():
    came = {
        "Content-Type": "application/vnd.amazon.eventstream",
        "Content-Encoding": "identity",
        "X-Amzn-RequestId": "aws-1",
        "Retry-After": "3",
        "x-should-retry": "true",
        "x-amzn-bedrock-input-token-count": "5",
        "anthropic-organization-id": "org",
        "set-cookie": "a=b",
    }
    assert headers_of(came, "text/event-stream") == {
        "content-type": "text/event-stream",
        "content-encoding": "identity",
        "request-id": "aws-1",
        "retry-after": "3",
        "x-should-retry": "true",
    }
    assert headers_of({"request-id": "req", "x-amzn-requestid": "aws"}, "a/b")["request-id"] == "req"
