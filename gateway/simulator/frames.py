"""Frames: the bytes of an answer with the moment at which each leaves, and what can be done to a series of them.

A stream is an iterator of frames, rendered as it is played, so that an answer of a million tokens costs no memory. Its
moments are absolute, counted from the request's arrival: late writes do not delay the ones after them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

PING = b'event: ping\ndata: {"type": "ping"}\n\n'

End = Literal["", "cut", "reset", "stall"]


class Frame(NamedTuple):
    """One write.

    Attributes:
        at: Seconds after the request's arrival.
        data: What is written, one event unless it was chunked.
        tokens: Content deltas in it.
        block: Index of the content block that it belongs to.
        end: How the answer ends here, when it does not end by running out: ``cut`` closes the connection, ``reset``
            resets it, ``stall`` is silent until the client leaves.
    """

    at: float
    data: bytes
    tokens: int = 0
    block: int = 0
    end: End = ""


def with_pings(frames: Iterable[Frame], interval: float, start: float = 0.0) -> Iterator[Frame]:
    """Put a ping into every silence of ``interval`` seconds that follows the first frame."""
    last: float | None = None
    for frame in frames:
        while interval and last is not None and frame.at - last > interval:
            last += interval
            yield Frame(last, PING, 0, frame.block)
        last = max(frame.at, start)
        yield frame


def chunked(frames: Iterable[Frame], size: int) -> Iterator[Frame]:
    """Cut the bytes into writes of ``size``, each at the moment of its last byte; -1 makes one write of all."""
    held = bytearray()
    tokens, at = 0, 0.0
    for frame in frames:
        held += frame.data
        tokens, at = tokens + frame.tokens, frame.at
        while 0 < size <= len(held):
            yield Frame(at, bytes(held[:size]), tokens)
            del held[:size]
            tokens = 0
        if frame.end:
            yield Frame(at, bytes(held), tokens, 0, frame.end)
            return
    if held:
        yield Frame(at, bytes(held), tokens)
