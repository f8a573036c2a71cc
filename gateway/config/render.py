"""Configuration written as TOML: the effective one for ``config check``, and single values for the documentation.

A secret is never written: at most its last four characters, and those only of one long enough to stay secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ByteSize, HttpUrl, SecretStr
from pydantic.fields import FieldInfo

from gateway.config.fields import Path, dotted, is_list, unwrap
from gateway.config.load import Loaded
from gateway.core.units import parse_duration

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DURATIONS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))
# Of a user alone in an http URL, as proxies have it, nobody knows whether it is a name or a token.
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):\S+@|(?<=[?&]password=)[^&\s]+|(?<=http://)[^:/@\s]+(?=@)")
_KINDS = {bool: "true or false", int: "number", float: "number", ByteSize: "size", SecretStr: "secret"}
_MASK = "********"
_TAIL = 4
_LONG_ENOUGH = 20


def effective(loaded: Loaded) -> str:
    """Return the whole effective configuration, each value that is not a default with where it came from."""
    lines = [f"# Read: {', '.join(loaded.files) or 'no file'}. A limit that is not listed is no limit."]
    lines += _table(loaded, loaded.config, ())
    return "\n".join(lines) + "\n"


def _table(loaded: Loaded, model: BaseModel, path: Path) -> Iterator[str]:
    """Write a table's own values first, then the tables in it, as TOML wants it."""
    tables: list[tuple[str, Any]] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value is None or value == ():
            continue
        if isinstance(value, (BaseModel, dict)) or (isinstance(value, tuple) and isinstance(value[0], BaseModel)):
            tables.append((name, value))
        else:
            yield f"{name} = {literal(value, field)}{_came_from(loaded, (*path, name))}"
    for name, value in tables:
        yield from _section(loaded, value, (*path, name))


def _section(loaded: Loaded, value: Any, path: Path) -> Iterator[str]:
    if isinstance(value, tuple):
        for index, entry in enumerate(value):
            yield f"\n[[{header(path)}]]"
            yield from _table(loaded, entry, (*path, index))
    elif isinstance(value, BaseModel):
        body = list(_table(loaded, value, path))
        if body:
            yield f"\n[{header(path)}]"
            yield from body
    elif all(isinstance(entry, BaseModel) for entry in value.values()):
        for name, entry in value.items():
            yield from _section(loaded, entry, (*path, name))
    else:
        yield f"\n[{header(path)}]"
        for name, entry in value.items():
            yield f"{_key(name)} = {literal(entry)}{_came_from(loaded, (*path, name))}"


def _came_from(loaded: Loaded, path: Path) -> str:
    origin = loaded.merged.origin(path)
    if origin is None or not loaded.merged.has(path):
        return ""
    written = origin.written(path)
    return f"  # {origin.where}" + ("" if written == dotted(path) else f": {written}")


def header(path: Path) -> str:
    """Write the name of a table."""
    return ".".join(_key(str(step)) for step in path if not isinstance(step, int))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def literal(value: Any, field: FieldInfo | None = None) -> str:
    """Write one value as TOML, as people would: durations and sizes with their units, secrets masked."""
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(literal(entry) for entry in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, ByteSize):
        return json.dumps(size(value))
    if isinstance(value, (int, float)):
        return json.dumps(duration(value) if field is not None and is_duration(field) else value)
    text = masked(value.get_secret_value()) if isinstance(value, SecretStr) else _PASSWORD.sub(_hide, str(value))
    if isinstance(value, HttpUrl) and value.path == "/":
        text = text.removesuffix("/")
    # A JSON text is a TOML text, but for the one character that TOML wants escaped as well.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _hide(match: re.Match[str]) -> str:
    return _MASK if match[1] is None else f"{match[1]}:{_MASK}@"


def masked(secret: str) -> str:
    """Return what may be shown of a secret."""
    if not secret:
        return ""
    return _MASK + (secret[-_TAIL:] if len(secret) >= _LONG_ENOUGH else "")


def is_duration(field: FieldInfo) -> bool:
    """Say whether the field's number is one of seconds."""
    return any(getattr(mark, "func", None) is parse_duration for mark in field.metadata)


def duration(seconds: float) -> str:
    """Write seconds in the largest unit that leaves a whole number: ``90s``, ``2m``, ``500ms``."""
    for unit, length in _DURATIONS:
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def size(count: int) -> str:
    """Write bytes in the largest unit that leaves a whole number."""
    return next((f"{count // length}{unit}" for unit, length in _SIZES if count % length == 0), f"{count}B")


def kind(field: FieldInfo) -> str:
    """Say in a word or two what a key takes."""
    inner = unwrap(field.annotation)
    if is_duration(field):
        return "duration"
    if get_origin(inner) is Literal:
        return " or ".join(json.dumps(choice) for choice in get_args(inner))
    if get_origin(inner) is dict:
        return "table"
    return _KINDS.get(inner, "list" if is_list(inner) else "text")
