"""The public routes."""

from __future__ import annotations

import time
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web
from aiohttp.http import HttpVersion11

from gateway.core.call import Call, Restrictions
from gateway.core.dialects.chat_request import parse_body, parse_query
from gateway.core.dialects.messages import forwarded_headers, parse_messages
from gateway.core.errors import InvalidRequest, QueryTooLong
from gateway.web.dialects import CHAT, MESSAGES
from gateway.web.pipeline import handle
from gateway.web.quota import quota
from gateway.web.services import SERVICES

# What the existing frontends may put into a query string, in bytes: of each field decoded, and of all encoded (three
# times as much for most scripts, for the message and the system prompt both). A promise to them, so no setting.
MAX_FIELD = 16 * 1024
MAX_QUERY = 100 * 1024
_REPLACED = "\ufffd"  # what stands for bytes that are no UTF-8
_QUERY = "/?&=%:@!$'()*+,;~[]"


async def chat_get(request: web.Request) -> web.StreamResponse:
    """Answer the existing frontends' GET."""
    return await handle(request, CHAT, _parse_chat_get)


async def chat_post(request: web.Request) -> web.StreamResponse:
    """Answer ``POST /api/chat/stream``."""
    return await handle(request, CHAT, _parse_chat_post)


async def messages(request: web.Request) -> web.StreamResponse:
    """Relay ``/v1/messages`` and ``/v1/messages/count_tokens``."""
    return await handle(request, MESSAGES, _parse_messages)


async def models(request: web.Request) -> web.StreamResponse:
    """Relay ``/v1/models`` and ``/v1/models/{id}``."""
    return await handle(request, MESSAGES, _parse_models)


async def root(_: web.Request) -> web.Response:
    """Answer the probe that some clients send before anything else."""
    return web.Response()


async def health(_: web.Request) -> web.Response:
    """Answer as the existing frontends know it."""
    return web.json_response({"status": "ok", "timestamp": int(time.time() * 1000)})


def _parse_chat_get(request: web.Request, _: bytes, allowed: Restrictions) -> Call:
    if len(request.rel_url.raw_query_string) > MAX_QUERY:
        raise QueryTooLong(f"The query string is over the limit of {MAX_QUERY} bytes. Send a POST.")
    query = request.query
    for name in ("message", "system"):
        value = query.get(name, "")
        if len(value.encode("utf-8", "replace")) > MAX_FIELD:
            raise QueryTooLong(f"{name} is over the limit of {MAX_FIELD} bytes in a query string. Send a POST.")
        if _REPLACED in value and not _is_utf8(request.rel_url.raw_query_string):
            raise InvalidRequest(f"{name} is not UTF-8.")
    services = request.app[SERVICES]
    return parse_query(query, services.chat, allowed, services.prices)


def _is_utf8(query: str) -> bool:
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        return False
    return True


def _parse_chat_post(request: web.Request, body: bytes, allowed: Restrictions) -> Call:
    services = request.app[SERVICES]
    return parse_body(body, services.chat, allowed, services.prices)


def _parse_messages(request: web.Request, body: bytes, allowed: Restrictions) -> Call:
    return parse_messages(_target(request), body, request.headers, allowed, request.app[SERVICES].prices)


def _parse_models(request: web.Request, _: bytes, allowed: Restrictions) -> Call:
    return Call("GET", _target(request), b"", forwarded_headers(request.headers, allowed))


def _target(request: web.Request) -> str:
    """Return the path as the router understood it, however it was written, and the query as it was written."""
    query = request.raw_path.partition("#")[0].partition("?")[2]
    # Of characters that have no place in a request line none may pass, whatever a client managed to send.
    path = quote(request.path, safe="/:@")
    return f"{path}?{quote(query, safe=_QUERY)}" if query else path


async def expected(request: web.Request) -> None:
    """Let a client that asks first send its body, unless there is no room for it; ignore the rest."""
    if request.version < HttpVersion11 or request.headers.get("Expect", "").lower() != "100-continue":
        return
    services, length = request.app[SERVICES], request.content_length or 0
    if length <= services.server.max_body and not services.streams.full and services.bodies.has_room(length):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp's own handler does: nothing of the answer has been sent yet


def add_routes(app: web.Application) -> None:
    """Add the public routes."""
    app.router.add_get("/api/chat/stream", chat_get, allow_head=False)
    app.router.add_post("/api/chat/stream", chat_post, expect_handler=expected)
    app.router.add_post("/v1/messages", messages, expect_handler=expected)
    app.router.add_post("/v1/messages/count_tokens", messages, expect_handler=expected)
    app.router.add_get("/v1/models", models, allow_head=False)
    # Nothing that could lead elsewhere in the operator's account: no slash, also not an encoded one, no dots alone.
    app.router.add_get(r"/v1/models/{id:\w[\w.:@-]*}", models, allow_head=False)
    app.router.add_get("/api/quota", quota, allow_head=False)
    app.router.add_get("/health", health)
    app.router.add_head("/", root)
