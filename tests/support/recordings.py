"""Claude's streams to test with, and what a plain reading of them finds.

- ``tests/streams/*.sse`` are small, made by hand, and always there.
- The recordings of real streams lie beside the repository, in ``../shared/recordings``.
- What is expected of a stream is read here with nothing but ``json`` and the standard's text, so that it does not repeat
  the mistakes of the code under test.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support.whatwg import interpret

OWN = Path(__file__).parents[1] / "streams"
SHARED = Path(__file__).parents[3] / "shared"
RECORDINGS = SHARED / "recordings"


@dataclass(frozen=True)
class Recording:
    """One stream as it came from Claude."""

    path: Path

    @cached_property
    def raw(self) -> bytes:
        """Its bytes."""
        return self.path.read_bytes()

    @cached_property
    def events(self) -> list[tuple[str, str]]:
        """Its events; the last one counts even without its blank line."""
        return interpret(self.raw + b"\n\n")

    @cached_property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON objects of its events; what is none is left out."""
        return [body for _, data in self.events if isinstance(body := _json(data), dict)]

    @cached_property
    def texts(self) -> list[str]:
        """Its text deltas up to the first error."""
        found: list[str] = []
        for body in self.bodies:
            if body.get("type") == "error":
                break
            if body.get("type") == "content_block_delta" and body["delta"].get("type") == "text_delta":
                found.append(body["delta"]["text"])
        return found

    @property
    def deltas(self) -> int:
        """How many content deltas of any kind."""
        return sum(body.get("type") == "content_block_delta" for body in self.bodies)

    @cached_property
    def usage(self) -> dict[str, int]:
        """The last value of each count that was told, by its name on the wire."""
        last: dict[str, int] = {}
        for body in self.bodies:
            if body.get("type") == "message_start":
                _note(last, body["message"].get("usage") or {})
            elif body.get("type") == "message_delta":
                _note(last, body.get("usage") or {})
        return last

    @property
    def output_told(self) -> bool:
        """Whether a ``message_delta`` summed the output up."""
        summed = [body.get("usage") or {} for body in self.bodies if body.get("type") == "message_delta"]
        return any(usage.get("output_tokens") is not None for usage in summed)

    @property
    def end(self) -> str:
        """How it ended: ``error``, ``done`` or ``cut``."""
        kinds = {body.get("type") for body in self.bodies}
        return "error" if "error" in kinds else "done" if "message_stop" in kinds else "cut"


@cache
def own() -> tuple[Recording, ...]:
    """Return the streams made by hand."""
    return tuple(map(Recording, sorted(OWN.glob("*.sse"))))


@cache
def recorded() -> tuple[Recording, ...]:
    """Return the recordings, none where they are not."""
    return tuple(map(Recording, sorted(RECORDINGS.glob("*/*.sse"))))


def all_recordings() -> list[Recording]:
    """Return our own streams and the recorded ones, for tests that run through all of them in one go."""
    if not recorded():
        miss()
    return [*own(), *recorded()]


def miss() -> NoReturn:
    """End a test without recordings: skip it where nothing lies beside the repository, and never in CI."""
    if SHARED.exists() or os.environ.get("CI"):
        pytest.fail(f"the recordings are missing: {RECORDINGS}")
    pytest.skip("no ../shared beside the repository: the recordings of Claude's streams are not here")


def _note(last: dict[str, int], usage: dict[str, Any]) -> None:
    for name, value in usage.items():
        if isinstance(value, int):
            last[name] = value
        elif isinstance(value, dict):
            _note(last, value)


def _json(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
