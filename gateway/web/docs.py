"""``/openapi.json`` and ``/docs``: made once at start, served only where ``[server] docs`` says so."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from gateway.core.addresses import is_loopback
from gateway.web.docs_page import page
from gateway.web.openapi import public_document
from gateway.web.openapi_ops import ops_document
from gateway.web.pages import Handler, add_files, fixed
from gateway.web.settings import ServerSettings


def shown(server: ServerSettings) -> bool:
    """Say whether the documentation is served: unless told otherwise, only where nobody else can reach it."""
    return server.docs == "on" or (server.docs == "auto" and is_loopback(server.listen))


def add_docs(app: web.Application, server: ServerSettings) -> None:
    """Add the document of the public routes and its page, if they are to be shown."""
    if not shown(server):
        return
    document = public_document()
    app.router.add_get("/openapi.json", _document(document))
    app.router.add_get("/docs", fixed(page(document).encode(), "text/html"))
    add_files(app, {"/docs/docs.css": "docs.css", "/docs/icon.svg": "icon.svg"})


def add_ops_document(app: web.Application) -> None:
    """Add the document of the operators' routes."""
    app.router.add_get("/openapi.json", _document(ops_document()))


def _document(document: dict[str, Any]) -> Handler:
    return fixed(orjson.dumps(document), "application/json")
