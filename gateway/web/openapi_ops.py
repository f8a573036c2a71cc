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


_NUMBER = {"type": "number"}
_LIMIT: Schema = {
    "type": "object",
    "properties": {
        "scope": {"type": "string", "enum": ["tenant", "key", "user"]},
        "owner": {"type": "string", "description": "The tenant, the key's id, or the end user's pseudonym."},
        "name": {"type": "string", "examples": ["tenant-usd-per-month"]},
        "unit": {"type": "string"},
        **{name: _NUMBER for name in ("limit", "used", "held", "remaining")},
        "resetSeconds": {"type": ["number", "null"]},
    },
    "required": ["scope", "owner", "name", "unit", "limit"],
}
_QUOTAS: Schema = {
    "type": "object",
    "properties": {
        "tenant": {"type": "string"},
        "plan": {"type": "string"},
        "limits": {"type": "array", "items": _LIMIT},
    },
    "required": ["tenant", "plan", "limits"],
}
_DIFFERENCE: Schema = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("tenant", "scope", "owner", "name", "unit")},
        "ledger": _NUMBER,
        "store": _NUMBER,
    },
    "required": ["tenant", "scope", "owner", "name", "unit", "ledger", "store"],
}
_DIFFERENCES: Schema = {
    "type": "object",
    "properties": {"differences": {"type": "array", "items": _DIFFERENCE}},
    "required": ["differences"],
}

_REFUSED: dict[str, Schema] = {
    "404": {"description": "There is no such tenant."},
    "503": {"description": "The database, or the store of limits, is away."},
}


def ops_document(*, counts: bool = True) -> dict[str, Any]:
    """Return the document; where several workers count, ``counts`` is False: none of them knows all."""
    document = _document()
    if not counts:
        for path in ("/quotas/{tenant}", "/reconcile"):
            del document["paths"][path]
    return document


def _document() -> dict[str, Any]:
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
            "/quotas/{tenant}": {
                **_get(
                    "quotas",
                    "Where all limits of a tenant stand, as this process counts them",
                    {"200": _json("Its limits, and those of its keys.", _QUOTAS), **_REFUSED},
                ),
                "parameters": [
                    {"name": "tenant", "in": "path", "required": True, "schema": {"type": "string"}},
                    _query("user", "Also the limits of this end user, by the application's own name."),
                ],
            },
            "/reconcile": {
                **_get(
                    "reconcile",
                    "What limits have counted otherwise than the ledger",
                    {"200": _json("What differs.", _DIFFERENCES), **_REFUSED},
                ),
                "parameters": [_query("tenant", "Only this tenant's.")],
            },
            "/openapi.json": _get("openapi", "This document", {"200": _json("The document.", {"type": "object"})}),
        },
        "components": {"schemas": {"Readiness": _READINESS}},
    }


def _get(name: str, summary: str, responses: dict[str, Schema]) -> dict[str, Schema]:
    return {"get": {"operationId": name, "summary": summary, "security": [], "responses": responses}}


def _query(name: str, what: str) -> Schema:
    return {"name": name, "in": "query", "description": what, "schema": {"type": "string"}}


def _json(what: str, schema: Schema) -> Schema:
    return {"description": what, "content": {"application/json": {"schema": schema}}}
