"""Frames of ``/api/chat/stream``, read as the deployed frontends read them: lines that start with ``data: ``."""

from __future__ import annotations

import json
from typing import Any


def frames(body: bytes) -> list[dict[str, Any]]:
    """Return all frames; the body must end with a whole one."""
    assert body.endswith(b"\n\n"), body[-80:]
    return [json.loads(line[6:]) for line in body.decode().split("\n") if line.startswith("data: ")]


def joined(read: list[dict[str, Any]], kind: str = "text") -> str:
    return "".join(frame["token"] for frame in read if frame["type"] == kind)
