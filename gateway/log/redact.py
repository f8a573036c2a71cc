"""The last net: credentials that reached a log line in spite of everything are masked.

No line is meant to hold one; this file is for the day on which one does. It looks at the finished line for a few short
marks (1 µs, on every line) and only where one is found at the values with the patterns.
"""

from __future__ import annotations

import re
from typing import Any

MASK = "***"
_MARKS = (b"sk-ant-", b"tw_", b"bearer", b"x-api-key", b"authorization", b"cookie", b"://", b"?")

_PATTERNS = (
    (re.compile(r"\bsk-ant-[\w-]+"), f"sk-ant-{MASK}"),
    (re.compile(r"\btw_[A-Za-z0-9]+_[\w-]+"), f"tw_{MASK}"),
    (re.compile(r"\b(bearer|basic)(\s+)[^\s\"'\\,;)]+", re.IGNORECASE), rf"\1\2{MASK}"),
    # Header names, in any spelling of a pair: "x-api-key: v", ('x-api-key', 'v'), {b"x-api-key": b"v"}.
    (
        re.compile(
            r"(x-api-key|authorization|cookie)([\"'\\]*\s*[:=,]\s*(?:b(?=[\"']))?[\"'\\]*)[^\"'\\\r\n,)}]+",
            re.IGNORECASE,
        ),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"(://)[^/\s:@\"']*:[^/\s@\"']+@"), rf"\1{MASK}@"),
    # Query strings hold prompts.
    (re.compile(r"\?[\w.%\[\]-]+=[^\s\"'<>]*"), f"?{MASK}"),
)


def suspicious(line: bytes) -> bool:
    """Return whether ``line`` may hold something to mask."""
    lowered = line.lower()
    return any(mark in lowered for mark in _MARKS)


def redact(text: str) -> str:
    """Return ``text`` with credentials and query strings masked."""
    for pattern, mask in _PATTERNS:
        text = pattern.sub(mask, text)
    return text


def plain(value: Any) -> Any:
    """Return ``value`` made of what any JSON reader takes, redacted; an object of another class becomes its name."""
    if isinstance(value, str):
        return redact(value.encode("utf-8", "replace").decode())
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, dict):
        return {str(plain(str(key))): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return type(value).__name__
