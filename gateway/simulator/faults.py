"""Faults, done to a series of frames, and the count of how often each was done.

Positions count content deltas from the start; position 0 is before the first event, when only the headers are out. A
fault that ends the stream takes everything after it away; the others go on. Pure but for the count.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from gateway.core.claude import STATUS_OF_TYPE
from gateway.simulator.directives import Directives, without_faults
from gateway.simulator.frames import End, Frame
from gateway.simulator.refusals import Refused, error_body, sentence
from gateway.simulator.wire import delta_event

_MAX_COUNTED = 1000
_GARBAGE = b'event: content_block_delta\ndata: {"type":"content_block_delta","in\xff\xfe<<garbage>>\n\n'
_UNKNOWN = b'event: brand_new_event\ndata: {"type":"brand_new_event","anything":{"nested":[1,2,3]}}\n\n'
_DEFAULT_ERROR = "overloaded_error"
_ENDS: tuple[tuple[str, End], ...] = (("cut_after", "cut"), ("reset_after", "reset"))


class FaultCounter:
    """Decides whether a request's faults happen: by ``count`` and by ``probability``."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._done: OrderedDict[str, int] = OrderedDict()

    def admit(self, asked: Directives) -> Directives:
        """Return the directives that hold for this request."""
        if asked.probability is not None and self._random.random() >= asked.probability:
            return without_faults(asked)
        if asked.count is None:
            return asked
        name = asked.id or repr(asked)
        done = self._done.pop(name, 0)
        self._done[name] = done + 1
        if len(self._done) > _MAX_COUNTED:
            self._done.popitem(last=False)
        return asked if done < asked.count else without_faults(asked)


def refusal(asked: Directives) -> Refused | None:
    """The error status that was asked for, if one was."""
    if asked.status is None and (asked.error is None or asked.error_after is not None):
        return None
    return refused(asked)


def refused(asked: Directives) -> Refused:
    """The error that was asked for, as a status; ``overloaded_error`` where no name was given."""
    kind = asked.error or (_DEFAULT_ERROR if asked.status is None else "")
    headers = {}
    if asked.retry_after is not None:
        headers["retry-after"] = f"{asked.retry_after:g}"
    if asked.should_retry is not None:
        headers["x-should-retry"] = str(asked.should_retry).lower()
    if asked.content_type is not None:
        headers["content-type"] = asked.content_type
    return Refused(asked.status or STATUS_OF_TYPE.get(kind, 500), kind, asked.message or "", headers)


def inflict(frames: Iterable[Frame], asked: Directives) -> Iterator[Frame]:
    """Do to a stream what was asked for."""
    if asked.garbage_after is not None:
        frames = _insert(frames, asked.garbage_after, _GARBAGE)
    if asked.unknown_after is not None:
        frames = _insert(frames, asked.unknown_after, _UNKNOWN)
    if asked.giant_event is not None:
        frames = _giant(frames, 1 if asked.giant_after is None else asked.giant_after, asked.giant_event)
    if asked.stall_after is not None and asked.stall is not None:
        frames = _delay(frames, asked.stall_after, asked.stall)
    if (ending := _ending(asked)) is not None:
        frames = _stop(frames, *ending)
    return iter(frames)


def damage(body: bytes, at: float, asked: Directives) -> Iterator[Frame]:
    """The same for an answer that is no stream: a position above 0 is the middle of its body."""
    half = len(body) // 2
    if asked.garbage_after is not None:
        body = body[:half] + b"\xff<<garbage>>"
    if (ending := _ending(asked)) is None:
        if asked.stall_after is not None and asked.stall is not None:
            yield Frame(at, body[:half])
            at, body = at + asked.stall, body[half:]
        yield Frame(at, body)
        return
    after, last = ending
    yield Frame(at, body[:half] if after else b"")
    if last is not None:
        yield last._replace(at=at)


def _ending(asked: Directives) -> tuple[int, Frame | None] | None:
    """Where the stream ends early, and the frame that ends it (None: cleanly, without another byte)."""
    for name, end in _ENDS:
        if (after := getattr(asked, name)) is not None:
            return after, Frame(0.0, b"", end=end)
    if asked.stall_after is not None and asked.stall is None:
        return asked.stall_after, Frame(0.0, b"", end="stall")
    if asked.error_after is not None:
        return asked.error_after, Frame(0.0, _error_event(asked))
    return None if asked.end_after is None else (asked.end_after, None)


def _error_event(asked: Directives) -> bytes:
    kind = asked.error or _DEFAULT_ERROR
    return b"event: error\ndata: %b\n\n" % error_body(kind, asked.message or sentence(kind), None)


def _stop(frames: Iterable[Frame], after: int, last: Frame | None) -> Iterator[Frame]:
    seen, at = 0, 0.0
    for frame in frames:
        at = frame.at
        if after == 0:
            break
        yield frame
        seen += frame.tokens
        if seen >= after:
            break
    if last is not None:
        yield last._replace(at=at)


def _insert(frames: Iterable[Frame], after: int, data: bytes) -> Iterator[Frame]:
    for frame, due in _marked(frames, after):
        if due and not after:
            yield Frame(frame.at, data)
        yield frame
        if due and after:
            yield Frame(frame.at, data)


def _giant(frames: Iterable[Frame], after: int, size: int) -> Iterator[Frame]:
    for frame, due in _marked(frames, max(after, 1)):
        yield frame
        if due:
            yield Frame(frame.at, delta_event(frame.block, "text_delta", "text", "x" * size), 0, frame.block)


def _delay(frames: Iterable[Frame], after: int, seconds: float) -> Iterator[Frame]:
    late = 0.0
    for frame, due in _marked(frames, after):
        if due and not after:
            late = seconds
        yield frame._replace(at=frame.at + late)
        if due:
            late = seconds


def _marked(frames: Iterable[Frame], after: int) -> Iterator[tuple[Frame, bool]]:
    """Each frame, and whether it is the one that reaches the position (the first frame for position 0)."""
    seen, passed = 0, False
    for frame in frames:
        seen += frame.tokens
        due = not passed and seen >= after
        passed = passed or due
        yield frame, due
