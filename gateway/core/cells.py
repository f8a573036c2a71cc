"""Numbers of one process in memory that another one maps too: the layout of that memory.

- One process writes, any number read, none waits: a number is an aligned double, which the processor stores whole.
- The memory begins with the number of bytes in use. Records follow: the length of a key, the key, zeros up to the next
  multiple of eight, the number. A record is whole before it counts as in use.
- A key stays; numbers change in place. What a process counted last is there when it is gone, however it went.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping

_SIZE = struct.Struct("=Q")
_WORD = _SIZE.size


def key_of(kind: str, family: str, sample: str, labels: Mapping[str, str], text: str, merged: str = "sum") -> bytes:
    """Return the key of a metric's number.

    Args:
        kind: The metric's type.
        family: Its name.
        sample: The name of the series.
        labels: The labels of the series; ``le`` comes last.
        text: What is written about the metric.
        merged: How several writers' numbers are merged: sum, min or max.
    """
    return json.dumps([kind, family, sample, dict(labels), text, merged], ensure_ascii=False).encode("utf-8", "replace")


class Cells:
    """The writing side.

    Args:
        memory: All of it, zeros; it must stay mapped as long as this is used.

    Attributes:
        numbers: The memory as doubles: set ``numbers[index]``.
    """

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self.numbers = memory.cast("d")
        self._used = _WORD
        self._known: dict[bytes, int] = {}
        _SIZE.pack_into(memory, 0, self._used)

    def index(self, key: bytes) -> int | None:
        """Return where the number of a key is, zero at first; None when there is no room for another."""
        known = self._known.get(key)
        if known is not None:
            return known
        start, room = self._used + _WORD, -(-len(key) // _WORD) * _WORD
        end = start + room + _WORD
        if end > len(self._memory):
            return None
        self._memory[start : start + len(key)] = key
        _SIZE.pack_into(self._memory, self._used, len(key))
        self._used = end
        _SIZE.pack_into(self._memory, 0, end)
        index = self._known[key] = end // _WORD - 1
        return index


def numbers_of(memory: memoryview) -> Iterator[tuple[bytes, float]]:
    """Yield the keys and numbers as they are now; the reading side."""
    used = min(_SIZE.unpack_from(memory, 0)[0], len(memory))
    numbers = memory.cast("d")
    at = _WORD
    while at < used:
        start, length = at + _WORD, _SIZE.unpack_from(memory, at)[0]
        at = start + -(-length // _WORD) * _WORD + _WORD
        yield bytes(memory[start : start + length]), numbers[at // _WORD - 1]


def copy_of(memory: memoryview) -> memoryview:
    """Return a copy of what is in use, to be read while the memory changes or goes."""
    used = min(_SIZE.unpack_from(memory, 0)[0], len(memory))
    return memoryview(bytes(memory[: max(used, _WORD)]))
