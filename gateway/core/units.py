"""Durations and sizes as people write them in a configuration: ``"30s"``, ``"1h"``, ``"32MiB"``, or plain numbers."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, ByteSize, Field

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")


def parse_duration(value: object) -> float:
    """Return the seconds in ``value``: a number, or a number with a unit of ms, s, m, h or d."""
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise ValueError("allowed: a number of seconds, or a text such as 500ms, 30s, 5m, 1h or 30d")
    return float(match[1]) * _UNITS[match[2] or "s"]


Seconds = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
Bytes = Annotated[ByteSize, Field(ge=1)]
