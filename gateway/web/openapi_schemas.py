"""The named shapes of the OpenAPI document: what goes over the wire, one component each.

- The chat request is made from the model that reads it, the error codes from the errors there are: they cannot drift.
- Types for frontends are generated from these names; a name is as stable as a field.
- What Claude says is relayed as it came, so its shapes name what can be relied on and leave the rest open.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.core.claude import STATUS_OF_TYPE
from gateway.core.dialects.chat_request import ChatRequest
from gateway.core.errors import GatewayError, UpstreamRefused

Schema = dict[str, Any]

_REFS = "#/components/schemas/"
_TIMESTAMP: Schema = {"type": "integer", "description": "Unix time in milliseconds."}
_REQUEST_ID: Schema = {"type": "string", "description": "The request's id, as in X-Request-Id."}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def ref(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": _REFS + name}


def event_of(name: str) -> Schema:
    """Return one event of a stream whose ``data`` is a component in JSON."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": ref(name)}
    return _object("One event; the stream is a sequence of them.", {"data": data}, "data")


def schemas() -> dict[str, Schema]:
    """Return every component, in alphabetical order."""
    named = {**_chat_request(), **_chat_frames(), **_chat_answer(), **_quota(), **_errors(), **_claude(), **_own()}
    return dict(sorted(named.items()))


def error_codes() -> list[str]:
    """Return every code that a caller can meet."""
    tree = {error.code for error in _subclasses(GatewayError) if "code" in vars(error)}
    return sorted(tree | {f"upstream_{kind}" for kind in STATUS_OF_TYPE})


def _subclasses(error: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for found in error.__subclasses__():
        if found is not UpstreamRefused:
            yield found
        yield from _subclasses(found)


def _chat_request() -> dict[str, Schema]:
    """Return the request and its parts from the model; parts are named after the request."""
    made = ChatRequest.model_json_schema(ref_template=_REFS + "{model}")
    parts = {_part(name): part for name, part in made.pop("$defs").items()}
    return {name: _tidy(schema) for name, schema in {"ChatRequest": made, **parts}.items()}


def _part(name: str) -> str:
    if name.endswith("ContentBlock"):
        return "ClaudeContentBlock"
    return name if name.startswith("Chat") else f"Chat{name}"


def _tidy(node: Any) -> Any:
    """Rename references and drop the titles that pydantic makes of names."""
    if isinstance(node, list):
        return [_tidy(entry) for entry in node]
    if isinstance(node, str) and node.startswith(_REFS):
        return _REFS + _part(node.removeprefix(_REFS))
    if not isinstance(node, dict):
        return node
    # A title that is a schema is a property of that name.
    return {key: _tidy(value) for key, value in node.items() if key != "title" or not isinstance(value, str)}


def _chat_frames() -> dict[str, Schema]:
    frames = {"text": "TextFrame", "thinking": "ThinkingFrame", "error": "ErrorFrame", "done": "DoneFrame"}
    return {
        "ChatFrame": {
            "description": "What a line that starts with `data: ` holds. Ignore types that you do not know.",
            "oneOf": [ref(name) for name in frames.values()],
            "discriminator": {
                "propertyName": "type",
                "mapping": {kind: _REFS + name for kind, name in frames.items()},
            },
        },
        "TextFrame": _frame("text", "A piece of the answer.", "The piece to append."),
        "ThinkingFrame": _frame("thinking", "A piece of thinking; only if `thinking` was asked for.", "The piece."),
        "ErrorFrame": _frame("error", "Ends a bad answer.", "A sentence for a person.", "ChatErrorMetadata"),
        "DoneFrame": _frame("done", "Ends a good answer, always.", "Empty.", "ChatMetadata"),
        "ChatErrorMetadata": _object(
            "What a program can act on.",
            {
                "code": ref("ErrorCode"),
                "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
                "retryAfterMs": {**_COUNT, "description": "Milliseconds after which it may, where that is known."},
                "requestId": _REQUEST_ID,
            },
            "code",
            "retryable",
            "requestId",
        ),
    }


def _frame(kind: str, what: str, token: str, metadata: str | None = None) -> Schema:
    properties: dict[str, Schema] = {
        "type": {"type": "string", "const": kind},
        "token": {"type": "string", "description": token},
        "timestamp": _TIMESTAMP,
    }
    if metadata is None:
        return _object(what, properties, *properties)
    return _object(what, {**properties, "metadata": ref(metadata)}, *properties, "metadata")


def _chat_answer() -> dict[str, Schema]:
    metadata = {
        "requestId": _REQUEST_ID,
        "model": {"type": ["string", "null"], "description": "The model that answered."},
        "stopReason": {"type": ["string", "null"], "description": "Claude's stop_reason, such as end_turn."},
        "usage": ref("ChatUsage"),
        "timeToFirstTokenMs": {"type": ["integer", "null"], "description": "null where there was no token."},
        "durationMs": _COUNT,
        "tokensPerSecond": {"type": ["number", "null"]},
        "costUsd": {"type": ["number", "null"], "description": "The price of this answer, by Claude's price list."},
        "quota": {"type": "array", "items": ref("Limit"), "description": "Where the limits stand; absent without any."},
    }
    tokens = dict.fromkeys(("inputTokens", "outputTokens", "cacheReadTokens", "cacheCreationTokens"), _COUNT)
    answer = {
        "text": {"type": "string", "description": "All text of the answer."},
        "metadata": ref("ChatMetadata"),
    }
    return {
        "ChatAnswer": _object("The answer of `stream: false`.", answer, *answer),
        "ChatMetadata": _object("What an answer took.", metadata, *(name for name in metadata if name != "quota")),
        "ChatUsage": _object("Tokens; inputTokens holds none of the cache's.", tokens, *tokens),
    }


def _quota() -> dict[str, Schema]:
    amount: Schema = {"type": "number", "minimum": 0}
    limit: dict[str, Schema] = {
        "name": {"type": "string", "description": "As in the RateLimit header.", "examples": ["tenant-usd-per-month"]},
        "unit": {
            "type": "string",
            "enum": ["requests", "concurrent", "input_tokens", "output_tokens", "tokens", "usd"],
        },
        "limit": {**amount, "description": "The most that is admitted; of usd in dollars."},
        "used": {**amount, "description": "What was used in the window, day or month."},
        "held": {**amount, "description": "What requests in flight may use at most, until they end."},
        "remaining": amount,
        "resetSeconds": {"type": ["number", "null"], "minimum": 0, "description": "Until more is left."},
    }
    quota: dict[str, Schema] = {
        "tenant": {"type": "string"},
        "keyId": {"type": ["string", "null"], "description": "null for browsers without a key."},
        "limits": {"type": "array", "items": ref("Limit")},
    }
    return {
        "Limit": _object("A limit and where it stands.", limit, *limit),
        "Quota": _object("The limits of a caller.", quota, *quota),
    }


def _errors() -> dict[str, Schema]:
    chat = {
        "error": {"type": "string", "description": "What is wrong, for a person."},
        "code": ref("ErrorCode"),
        "requestId": _REQUEST_ID,
        "message": {"type": "string", "description": "More of it, safe to show."},
        "retryAfter": {**_COUNT, "description": "Whole seconds, as in Retry-After."},
        "limit": {"type": "string", "description": "The limit that refused, as in RateLimit."},
        "retryable": {"const": False, "description": "There where the status looks like it, and no retry helps."},
    }
    claude = {
        "type": {"type": "string", "const": "error"},
        "error": _object(
            "The error.",
            {
                "type": {"type": "string", "description": f"One of {', '.join(STATUS_OF_TYPE)}; or new."},
                "message": {"type": "string"},
            },
        ),
        "request_id": {"type": ["string", "null"], "description": "Claude's id on its answers, ours on our own."},
    }
    return {
        "ChatError": _object("An error before the stream, on every route but Claude's.", chat, *list(chat)[:3]),
        "ClaudeError": _object("An error on Claude's routes: ours, or Claude's as it came.", claude, "type", "error"),
        "ErrorCode": {"type": "string", "description": "Stable.", "enum": error_codes()},
    }


def _claude() -> dict[str, Schema]:
    text: Schema = {"type": "string"}
    turn: dict[str, Schema] = {
        "role": {"type": "string", "enum": ["user", "assistant"]},
        "content": {"anyOf": [{"type": "string", "minLength": 1}, {**_blocks(), "minItems": 1}]},
    }
    counted: dict[str, Schema] = {
        "model": {"type": "string", "minLength": 1, "examples": ["claude-sonnet-5-5"]},
        "messages": {"type": "array", "minItems": 1, "items": ref("ClaudeTurn")},
        "system": {"anyOf": [text, _blocks(), {"type": "null"}]},
    }
    asked: dict[str, Schema] = {
        **counted,
        "max_tokens": {"type": "integer", "minimum": 1, "description": "At most the plan's max_output_tokens."},
        "stream": {"type": "boolean", "default": False},
        "metadata": {"anyOf": [ref("ClaudeRequestMetadata"), {"type": "null"}]},
    }
    array, anything = {"type": "array"}, {"type": "object"}
    who: dict[str, Schema] = {
        "user_id": {"type": ["string", "null"], "description": "The end user, for limits per user."}
    }
    relayed = "Relayed as Claude sent it; see Claude's own reference for all of it."
    message: dict[str, Schema] = {
        **dict.fromkeys(("id", "type", "role", "model"), text),
        "content": array,
        "stop_reason": {"type": ["string", "null"]},
        "usage": anything,
    }
    page: dict[str, Schema] = {"data": {**array, "items": ref("ClaudeModel")}, "has_more": {"type": "boolean"}}
    model = dict.fromkeys(("id", "type", "display_name", "created_at"), text)
    passes = "Fields that are not listed pass unchanged."
    return {
        "ClaudeCount": _object(relayed, {"input_tokens": _COUNT}),
        "ClaudeCountRequest": _object(f"Claude's request to count. {passes}", counted, "model", "messages"),
        "ClaudeEvent": _object(f"The `data` of one event. {relayed}", {"type": text}, "type"),
        "ClaudeMessage": _object(relayed, message),
        "ClaudeMessageRequest": _object(
            f"Claude's Messages request, as far as the gateway reads it. {passes}",
            asked,
            "model",
            "messages",
            "max_tokens",
        ),
        "ClaudeModel": _object(relayed, model),
        "ClaudeModelPage": _object(relayed, page),
        "ClaudeRequestMetadata": _object("Who asks.", who),
        "ClaudeTurn": _object(f"One turn of the conversation. {passes}", turn, *turn),
    }


def _own() -> dict[str, Schema]:
    health = {"status": {"type": "string", "const": "ok"}, "timestamp": _TIMESTAMP}
    return {"Health": _object("The gateway answers.", health, *health)}


def _blocks() -> Schema:
    return {"type": "array", "items": ref("ClaudeContentBlock")}


def _object(what: str, properties: dict[str, Schema], *required: str) -> Schema:
    schema: Schema = {"type": "object", "description": what, "properties": properties}
    return {**schema, "required": list(required)} if required else schema
