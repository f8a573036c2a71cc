"""The OpenAPI document of the public routes: what is served, to whom, and how it fails.

It is made once at start and kept in ``docs/openapi.json``, which is checked to be fresh. OpenAPI 3.1 has no word for
streams of events: as is the custom, the schema of a ``text/event-stream`` describes one event of it.
"""

from __future__ import annotations

from typing import Any

import gateway
from gateway.core.dialects.chat_request import LONGEST_USER_ID
from gateway.web.dialects import CHAT, MESSAGES
from gateway.web.openapi_responses import answer, errors, headers, json_of, refusals
from gateway.web.openapi_schemas import Schema, event_of, ref, schemas
from gateway.web.routes import MAX_FIELD

_EVENTS = "text/event-stream"
_BY_KEY: list[dict[str, list[str]]] = [{"BearerKey": []}, {"ApiKey": []}]
_ALSO_BY_ORIGIN = [*_BY_KEY, {"BrowserOrigin": []}]

_ABOUT = """\
Tokenweir stands in front of Claude: it knows who is asking, holds every tenant to its limits, and relays the answer
token by token.

- **Errors** come before a stream as JSON with a true status: as `ChatError`, on Claude's own routes as `ClaudeError`.
  After the first byte of a stream they are its last event. A stream that ends without `done`, `message_stop` or an
  error was cut: never take it for complete.
- **Every answer** carries `X-Request-Id`. What is no HTTP at all is a 400, and a request line over 256 KiB a 414.
- **An unknown route** is a 404, a method that a route does not take a 405 with `Allow`; in the same two shapes.
- **Browsers** of the configured origins may read every answer, 429 included; a preflight from another origin is a 403.
- **Streams** send a comment (a line that starts with `:`) when nothing else was sent for a while.
"""


def public_document() -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tokenweir",
            "version": gateway.__version__,
            "summary": "A gateway in front of Claude.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "Where this document is."}],
        "tags": [
            {"name": "Chat", "description": "A message in, frames out: for frontends."},
            {"name": "Claude", "description": "Claude's own API, relayed byte for byte: for Claude's SDKs and tools."},
            {"name": "Gateway", "description": "The gateway itself; needs no key."},
        ],
        "paths": {**_chat(), **_claude(), **_own()},
        "components": {
            "schemas": schemas(),
            "responses": {**errors(CHAT), **errors(MESSAGES)},
            "headers": headers(),
            "securitySchemes": _security(),
        },
    }


def _security() -> dict[str, Schema]:
    return {
        "BearerKey": {"type": "http", "scheme": "bearer", "description": "A key: `tw_<id>_<secret>`."},
        "ApiKey": {
            "type": "apiKey",
            "in": "header",
            "name": "x-api-key",
            "description": "The same key, as SDKs send it.",
        },
        "BrowserOrigin": {
            "type": "apiKey",
            "in": "header",
            "name": "Origin",
            "description": "No key: an origin that the operator has mapped to a tenant. Browsers send it by "
            "themselves; without it `Sec-Fetch-Site: same-origin` and `Host` count. Attribution, no proof.",
        },
    }


def _chat() -> dict[str, Schema]:
    stream = {_EVENTS: {"schema": event_of("ChatFrame"), "example": _EXAMPLE_STREAM}}
    either = {**stream, **json_of("ChatAnswer")}
    get = {
        "operationId": "streamChatGet",
        "summary": "Stream an answer, as the existing frontends ask for it",
        "description": "Other parameters are ignored. For more than a message and a system prompt, POST.",
        "tags": ["Chat"],
        "security": _ALSO_BY_ORIGIN,
        "parameters": [
            _query(
                "message",
                "What the user says.",
                {"minLength": 1, "maxLength": MAX_FIELD, "pattern": r"\S"},
                required=True,
            ),
            _query("system", "System prompt, if callers may bring one.", {"maxLength": MAX_FIELD}),
        ],
        "responses": {"200": answer("The answer as frames.", stream), **refusals(CHAT)},
    }
    post = {
        "operationId": "streamChat",
        "summary": "Stream an answer",
        "description": "With `stream: false` the answer is one JSON object. The media type of the body is not looked "
        "at: it is JSON.",
        "tags": ["Chat"],
        "security": _ALSO_BY_ORIGIN,
        "requestBody": _body("ChatRequest", {"message": "What are your opening hours?"}),
        "responses": {"200": answer("The answer.", either), **refusals(CHAT, without=("414",))},
    }
    return {"/api/chat/stream": {"get": get, "post": post}}


_EXAMPLE_STREAM = (
    'data: {"token":"Hel","type":"text","timestamp":1764000000000}\n\n'
    'data: {"token":"lo","type":"text","timestamp":1764000000050}\n\n'
)


def _claude() -> dict[str, Schema]:
    hello = {"model": "claude-sonnet-5-5", "messages": [{"role": "user", "content": "Hello"}]}
    relayed = {**json_of("ClaudeMessage"), _EVENTS: {"schema": event_of("ClaudeEvent")}}
    page = [
        _query("limit", "Models in one page.", {"type": "integer", "minimum": 1, "maximum": 1000}),
        _query("after_id", "The last model of the page before.", {"minLength": 1}),
        _query("before_id", "The first model of the page after.", {"minLength": 1}),
    ]
    model = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": r"^\w[\w.:@-]*$"}}
    return {
        "/v1/messages": {
            "post": _relayed(
                "createMessage",
                "Ask Claude",
                "Events and answers reach the client as the bytes that Claude sent.",
                relayed,
                requestBody=_body("ClaudeMessageRequest", {**hello, "max_tokens": 1024, "stream": True}),
            )
        },
        "/v1/messages/count_tokens": {
            "post": _relayed(
                "countTokens",
                "Count the tokens of a request",
                "Counts against limits of requests, never of tokens.",
                json_of("ClaudeCount"),
                requestBody=_body("ClaudeCountRequest", hello),
            )
        },
        "/v1/models": {
            "get": _relayed("listModels", "List models", "As Claude lists them.", json_of("ClaudeModelPage"), *page)
        },
        "/v1/models/{id}": {
            "get": _relayed("getModel", "Describe a model", "As Claude does.", json_of("ClaudeModel"), model)
        },
    }


def _relayed(name: str, summary: str, what: str, content: Any, *parameters: Schema, **more: Any) -> Schema:
    return {
        "operationId": name,
        "summary": summary,
        "description": what,
        "tags": ["Claude"],
        "security": _BY_KEY,
        "parameters": [*parameters, *_CLAUDE_HEADERS],
        **more,
        "responses": {"200": answer("Claude's answer.", content), **refusals(MESSAGES, without=("414",))},
    }


_CLAUDE_HEADERS = (
    {
        "name": "anthropic-version",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "default": "2023-06-01"},
        "description": "Claude's API version.",
    },
    {
        "name": "anthropic-beta",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Betas, by commas; a plan may limit them.",
    },
)


def _own() -> dict[str, Schema]:
    page = {"text/html": {"schema": {"type": "string"}}}
    document = {"application/json": {"schema": {"type": "object"}}}
    only_here = "Served where `[server] docs` is on; `auto` is a loopback address only. Else a 404."
    return {
        "/": {"head": _open("probe", "Probe, as some of Claude's clients do", "It answers.", {})},
        "/health": {"get": _open("health", "Say that the gateway answers", "It answers.", json_of("Health"))},
        "/api/quota": {"get": _quota()},
        "/streaming-demo": {"get": _open("demoPage", "A page that streams a chat", "The page.", page)},
        "/docs": {"get": _open("docsPage", "This document to read", "The page.", page, only_here)},
        "/openapi.json": {"get": _open("openapi", "This document", "The document.", document, only_here)},
    }


def _quota() -> Schema:
    return {
        "operationId": "quota",
        "summary": "Say what is left of the caller's limits",
        "description": "All limits that a request of the caller would meet. It counts against none of them.",
        "tags": ["Gateway"],
        "security": _ALSO_BY_ORIGIN,
        "parameters": [_query("userId", "The application's own user, for limits per user.", {"maxLength": LONGEST_USER_ID})],
        "responses": {"200": answer("The limits.", json_of("Quota")), **refusals(CHAT, without=_QUOTA_NEVER)},
    }


# It asks Claude nothing, and has neither a body nor a long query.
_QUOTA_NEVER = ("404", "408", "413", "414", "502", "504", "529", "default")


def _open(name: str, summary: str, what: str, content: Any, where: str | None = None) -> Schema:
    operation = {"operationId": name, "summary": summary, "tags": ["Gateway"], "security": []}
    found = {"200": answer(what, content, limited=False)}
    if where is None:
        return {**operation, "responses": found}
    return {**operation, "description": where, "responses": {**found, "404": refusals(CHAT)["404"]}}


def _query(name: str, what: str, schema: Schema | None = None, *, required: bool = False) -> Schema:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": what,
        "schema": {"type": "string", **(schema or {})},
    }


def _body(name: str, example: Any) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": ref(name), "example": example}}}
