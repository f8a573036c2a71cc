"""An input for a tool: a small JSON value that conforms to the tool's schema and takes what it can from the question.

Only required properties are filled (the first one if none is). Pure and deterministic.
"""

from __future__ import annotations

import re
from typing import Any

_MAX_DEPTH = 8
_MAX_ITEMS = 3
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
# A place or a name: capitalised words after a preposition, else capitalised words that do not start the sentence.
_PLACE = re.compile(r"\b(?:in|at|for|from|to|near|à|de|en|nach|für)\s+((?:[A-ZÀ-Ý][\w'-]*\s?)+)")
_NAME = re.compile(r"(?<=\s)((?:[A-ZÀ-Ý][\w'-]+\s?)+)")
_WHOLE = re.compile(r"query|question|text|prompt|input|message|content|search|term")
_FORMATS = {
    "date": "2026-01-15",
    "time": "12:00:00Z",
    "date-time": "2026-01-15T12:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com",
    "url": "https://example.com",
    "uuid": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.com",
}


def fill(schema: dict[str, Any], question: str) -> Any:
    """Return a value for ``schema``."""
    return _value(schema, "", question, schema, 0)


def _value(schema: Any, name: str, question: str, root: dict[str, Any], depth: int) -> Any:
    schema = _resolve(schema, root)
    for given in ("const", "default"):
        if given in schema:
            return schema[given]
    for given in ("enum", "examples"):
        if isinstance(options := schema.get(given), list) and options:
            return _mentioned(options, question)
    for union in ("anyOf", "oneOf", "allOf"):
        if isinstance(options := schema.get(union), list) and options:
            return _value(options[0], name, question, root, depth + 1)
    return _typed(schema, name, question, root, depth)


def _typed(schema: dict[str, Any], name: str, question: str, root: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if depth > _MAX_DEPTH or kind == "null":
        return None
    match kind:
        case "object":
            return _object(schema, question, root, depth)
        case "array":
            count = min(max(1, schema.get("minItems", 1)), _MAX_ITEMS)
            return [_value(schema.get("items", {}), name, question, root, depth + 1) for _ in range(count)]
        case "integer" | "number":
            return _number(schema, question, whole=kind == "integer")
        case "boolean":
            return True
        case _:
            return _string(schema, name, question)


def _resolve(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str):
            break
        schema = root
        for step in reference.lstrip("#/").split("/"):
            schema = schema.get(step) if isinstance(schema, dict) else None
    return schema if isinstance(schema, dict) else {}


def _mentioned(options: list[Any], question: str) -> Any:
    words = question.casefold()
    return next((option for option in options if str(option).casefold() in words), options[0])


def _object(schema: dict[str, Any], question: str, root: dict[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    wanted = required if isinstance(required, list) and required else list(properties)[:1]
    return {str(key): _value(properties.get(key, {}), str(key), question, root, depth + 1) for key in wanted}


def _number(schema: dict[str, Any], question: str, *, whole: bool) -> float:
    found = _NUMBER.search(question)
    value = float(found[0]) if found else 1.0
    if "minimum" in schema or "exclusiveMinimum" in schema:
        value = max(value, schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1))
    if "maximum" in schema or "exclusiveMaximum" in schema:
        value = min(value, schema.get("maximum", schema.get("exclusiveMaximum", 0) - 1))
    return int(value) if whole else value


def _string(schema: dict[str, Any], name: str, question: str) -> str:
    if (form := schema.get("format")) in _FORMATS:
        return _FORMATS[form]
    found = None if _WHOLE.search(name.casefold()) else _PLACE.search(question) or _NAME.search(question)
    value = found[1].strip(" ?.!,") if found else question.strip() or "example"
    longest = schema.get("maxLength", len(value))
    return value[:longest].ljust(schema.get("minLength", 0), "x")
