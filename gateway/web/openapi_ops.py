"""The OpenAPI document of the operators' address.

It is a document of its own, served where it describes: who may reach the public address must not be told of this one,
and a client that is generated for the public routes has no use for these.
"""

from __future__ import annotations

from typing import Any

import gateway
from gateway.web.openapi_schemas import Schema

_READINESS: Schema = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "enum": ["ok", "unavailable"]},
        "checks": {
            "type": "object",
            "description": "By what was asked: ok, or what is wrong with it.",
            "additionalProperties": {"type": "string"},
        },
        "in_flight": {"type": "integer", "minimum": 0, "description": "Requests being answered."},
    },
    "required": ["status", "checks", "in_flight"],
}
_ALIVE: Schema = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}


def ops_document() -> dict[str, Any]:
    """Return the document."""
    ready = {"$ref": "#/components/schemas/Readiness"}
    metrics = {
        "text/plain": {"schema": {"type": "string"}},
        "application/openmetrics-text": {"schema": {"type": "string"}},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tokenweir for operators",
            "version": gateway.__version__,
            "description": "Served on `[server] ops_listen` alone. No credentials: reaching the address is the right.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/livez": _get(
                "livez", "Whether the process answers; restart it if not", {"200": _json("It does.", _ALIVE)}
            ),
            "/readyz": _get(
                "readyz",
                "Whether to send requests here",
                {"200": _json("Yes.", ready), "503": _json("No: a check fails, or it is draining.", ready)},
            ),
            "/metrics": _get(
                "metrics",
                "What Prometheus scrapes; docs/metrics.md explains each",
                {"200": {"description": "All metrics, in the format that Accept asks for.", "content": metrics}},
            ),
            "/openapi.json": _get("openapi", "This document", {"200": _json("The document.", {"type": "object"})}),
        },
        "components": {"schemas": {"Readiness": _READINESS}},
    }


def _get(name: str, summary: str, responses: dict[str, Schema]) -> dict[str, Schema]:
    return {"get": {"operationId": name, "summary": summary, "security": [], "responses": responses}}


def _json(what: str, schema: Schema) -> Schema:
    return {"description": what, "content": {"application/json": {"schema": schema}}}
