"""Server-sent events, split and parsed as the WHATWG standard has it, without changing a byte.

- Lines end in LF, CR or CRLF; a blank line ends an event; a byte order mark may open the stream.
- ``EventSplitter`` cuts a stream of arbitrary chunks into whole events. It returns the bytes as they came, so that a
  relay forwards them unchanged, and the events one by one, so that a dialect can read them. However the stream is cut
  into chunks, the events are the same; for that an event that ends in a lone CR is held until the next byte is there.
- What is held back is one unfinished event, at most ``max_event`` bytes; more is ``EventTooLarge``.
- ``parse_event`` reads one event's name and data; comments and unknown fields are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Two line ends in a row. A CR is not one before the byte after it is known, so that a CRLF is never cut in two.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?=[^\n]))")
_LINE_END = re.compile(rb"\r\n|\n|\r")
# An event as Claude writes it: its name, its data, nothing else.
_USUAL = re.compile(rb"event: ([^\r\n]*)\ndata: ([^\r\n]*)")
_BOM = b"\xef\xbb\xbf"
# A blank line is at most four bytes, so one that spans two chunks starts within the last three of the first.
_SEAM = 3
# Looked for as a number: looking for a byte string first tries whether it is one, 0.1 µs.
_CR = 13


class EventTooLarge(Exception):
    """One event is over the splitter's limit; the stream cannot be followed any further.

    Args:
        raw: What came before it in the same chunk, up to the last whole event.
        events: These events.
    """

    def __init__(self, raw: bytes = b"", events: Sequence[bytes] = ()) -> None:
        super().__init__()
        self.raw = raw
        self.events = list(events)


class EventSplitter:
    """Cuts one stream into events.

    Args:
        max_event: Most bytes of one event.

    Attributes:
        unfinished: The parts of an event that is not complete.
        unfinished_bytes: Their size.
    """

    __slots__ = ("_max_event", "_seam", "unfinished", "unfinished_bytes")

    def __init__(self, max_event: int) -> None:
        self._max_event = max_event
        self.unfinished: list[bytes] = []
        self.unfinished_bytes = 0
        self._seam = b""

    def feed(self, data: bytes) -> tuple[bytes, list[bytes]]:
        """Take a chunk; return the bytes up to the last whole event, and these events without their blank lines.

        Raises:
            EventTooLarge: An event is over the limit; holds what came before it.
        """
        if self.unfinished:
            if not self._completes(data):
                self._hold(data)
                return b"", []
            data = b"".join((*self.unfinished, data))
            self.unfinished.clear()
            self.unfinished_bytes = 0
        raw, events = self._split_lf(data) if _CR not in data else self._split_any(data)
        if len(data) > self._max_event:
            self._check(raw, events)
        return raw, events

    def _check(self, raw: bytes, events: list[bytes]) -> None:
        """Refuse a whole event over the limit: whether it is one must not hang on how it was cut into chunks."""
        for number, event in enumerate(events):
            if len(event) > self._max_event:
                raise EventTooLarge(raw[: raw.index(event)], events[:number])

    def flush(self) -> bytes:
        """Return what is left when the stream has ended: an event whose blank line is not complete, or part of one."""
        rest = b"".join(self.unfinished)
        self.unfinished.clear()
        self.unfinished_bytes = 0
        return rest

    def _completes(self, data: bytes) -> bool:
        seam = self._seam + data[:_SEAM]
        return b"\n\n" in data or _BLANK_LINE.search(seam) is not None or _BLANK_LINE.search(data) is not None

    def _split_lf(self, data: bytes) -> tuple[bytes, list[bytes]]:
        events = data.split(b"\n\n")
        rest = events.pop()
        if not rest:
            return data, events
        return self._hold_rest(rest, data[: len(data) - len(rest)], events)

    def _split_any(self, data: bytes) -> tuple[bytes, list[bytes]]:
        events: list[bytes] = []
        start = 0
        for match in _BLANK_LINE.finditer(data):
            events.append(data[start : match.start()])
            start = match.end()
        return self._hold_rest(data[start:], data[:start], events) if start < len(data) else (data, events)

    def _hold_rest(self, rest: bytes, raw: bytes, events: list[bytes]) -> tuple[bytes, list[bytes]]:
        if len(rest) > self._max_event:
            raise EventTooLarge(raw, events)
        self._hold(rest)
        return raw, events

    def _hold(self, data: bytes) -> None:
        self.unfinished_bytes += len(data)
        if self.unfinished_bytes > self._max_event:
            raise EventTooLarge
        self.unfinished.append(data)
        self._seam = (self._seam + data)[-_SEAM:] if len(self.unfinished) > 1 else data[-_SEAM:]


def event_ends(raw: bytes) -> list[int]:
    """Return where the whole events of a chunk end, their blank lines included."""
    return [match.end() for match in _BLANK_LINE.finditer(raw)]


def parse_event(event: bytes) -> tuple[bytes, bytes | None]:
    """Return the event's name (empty when it has none) and its data, None when it has none (a comment, a blank)."""
    usual = _USUAL.fullmatch(event)
    if usual is not None:
        return usual[1], usual[2]
    name = b""
    data: list[bytes] = []
    for line in _LINE_END.split(event.removeprefix(_BOM)):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value
        elif field == b"data":
            data.append(value)
    return name, b"\n".join(data) if data else None
