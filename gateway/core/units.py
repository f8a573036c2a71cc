"""Durations, sizes and origins as people write them in a configuration.

Durations are ``"500ms"``, ``"30s"``, ``"1h"`` or a plain number of seconds; sizes are ``"32MiB"`` or a plain number of
bytes; origins are what browsers send, brought into their one form: lower case, no slash at the end, no default port.
"""

from __future__ import annotations

import re
from datetime import UTC, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*://(?:[^\s/:@?#*\[\]]+|\[[0-9a-f:.]+\]))(?::(\d{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Confidential:
    """Marks a text, by ``Annotated``, that holds a password somewhere, as the URL of a database or a proxy does."""


def parse_duration(value: object) -> float:
    """Return the seconds in ``value``: a number, or a number with a unit of ms, s, m, h or d."""
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise ValueError("allowed: a number of seconds, or a text such as 500ms, 30s, 5m, 1h or 30d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def parse_origin(value: str) -> str:
    """Return the origin in the form that browsers send; ``*``, ``same-origin`` and ``loopback`` stay as they are."""
    text = value.strip().lower().removesuffix("/")
    if text in ("*", "same-origin", "loopback"):
        return text
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError("allowed: *, same-origin, loopback, or an origin without a path such as https://shop.example")
    return match[1] if match[2] == _DEFAULT_PORTS.get(match[1].partition(":")[0]) else text


def parse_time_zone(value: str) -> str:
    """Return a time zone's name, if this machine knows it."""
    try:
        zone_of(value)
    except (ValueError, OSError, KeyError):
        raise ValueError("allowed: UTC, or a name that this machine knows, such as Europe/Paris") from None
    return value


def zone_of(name: str) -> tzinfo:
    """Return a time zone; UTC is known without the machine's files."""
    return UTC if name == "UTC" else ZoneInfo(name)


TimeZone = Annotated[str, AfterValidator(parse_time_zone)]
Seconds = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
WebOrigin = Annotated[str, AfterValidator(parse_origin)]
Bytes = Annotated[ByteSize, Field(ge=1)]
