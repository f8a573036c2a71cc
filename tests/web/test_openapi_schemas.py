"""The named shapes are those that the code makes: frames, answers and errors, each key by key."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from gateway.core.call import Summary
from gateway.core.claude import Fold
from gateway.core.dialects.chat import ChatEncoder, answer_body
from gateway.core.dialects.chat import error_body as chat_error
from gateway.core.dialects.messages import error_body as claude_error
from gateway.core.errors import GatewayFault, MessageRequired, Overloaded, RateLimited, UpstreamRefused
from gateway.core.outcome import Usage
from gateway.web.openapi import public_document
from gateway.web.openapi_schemas import error_codes, schemas
from tests.support.scripted_upstream import event, text_delta

SUMMARY = Summary("req_1", "claude-x", "end_turn", Usage(1, 2, 3, 4), 12, 34, 56.7, 0.001)
UNKNOWN = Summary("req_1", None, None, None, None, 34, None, None)
ERRORS = [
    MessageRequired(),
    GatewayFault("No."),
    Overloaded("No.", retry_after=1.0),
    RateLimited("No.", limit="tenant-requests-per-minute", retry_after=3.2),
    RateLimited("No.", limit="tenant-requests-per-minute", retry_after=None),
    UpstreamRefused("No.", status=529, claude_type="overloaded_error", retryable=True),
]


def check(name: str, value: Any) -> None:
    """Fail when a value is not of a component, or has a key that the component does not describe."""
    document = {"components": public_document()["components"], "$ref": f"#/components/schemas/{name}"}
    jsonschema_rs.validator_for(document).validate(value)
    described(name, value)


def described(name: str, value: dict[str, Any]) -> None:
    properties = schemas()[name]["properties"]
    assert set(value) <= set(properties)
    for key, inner in value.items():
        target = properties[key].get("$ref", "").rpartition("/")[2]
        if isinstance(inner, dict) and target:
            described(target, inner)


def frame_of(data: bytes) -> dict[str, Any]:
    return json.loads(data.removeprefix(b"data: "))


def thinking_delta(text: str) -> bytes:
    return event("content_block_delta", f',"index":0,"delta":{{"type":"thinking_delta","thinking":"{text}"}}')


@pytest.mark.parametrize(("delta", "name"), [(text_delta("Hi"), "TextFrame"), (thinking_delta("So"), "ThinkingFrame")])
def test_pieces_of_an_answer_are_what_their_frames_say(delta, name):
    frame = frame_of(ChatEncoder(Fold(), thinking=True).feed(delta, [delta.strip()], 1764000000000))
    check(name, frame)
    jsonschema_rs.validator_for(
        {"components": public_document()["components"], "$ref": "#/components/schemas/ChatFrame"}
    ).validate(frame)


@pytest.mark.parametrize("summary", [SUMMARY, UNKNOWN])
def test_the_last_frame_and_the_whole_answer_are_what_they_say(summary):
    check("DoneFrame", frame_of(ChatEncoder(Fold()).done(summary, 1764000000000)))
    check("ChatAnswer", answer_body({"content": [{"type": "text", "text": "Hi"}]}, summary))


@pytest.mark.parametrize("error", ERRORS)
def test_errors_are_what_they_say(error):
    check("ErrorFrame", frame_of(ChatEncoder(Fold()).error(error, "req_1", 1764000000000)))
    check("ChatError", chat_error(error, "req_1"))
    check("ClaudeError", claude_error(error, "req_1"))


def test_every_code_is_named():
    codes = error_codes()
    assert {"rate_limited", "slow_client", "upstream_overloaded_error", "upstream_truncated"} <= set(codes)
    assert codes == sorted(set(codes))


def test_every_example_is_of_its_schema():
    for response in public_document()["components"]["responses"].values():
        content = response["content"]["application/json"]
        for example in content["examples"].values():
            check(content["schema"]["$ref"].rpartition("/")[2], example["value"])


def test_names_that_types_are_generated_from_are_all_there():
    frames = {"ChatFrame", "TextFrame", "ThinkingFrame", "ErrorFrame", "DoneFrame"}
    assert frames | {"ChatRequest", "ChatMetadata", "ChatError", "ClaudeError", "ErrorCode"} <= set(schemas())
    assert all(name[0].isupper() for name in schemas())
