"""The relay: Claude's bytes pushed to one client, event by event, as fast as the client takes them and no faster.

- No task switch and no queue per token: the upstream's socket callback splits, encodes and writes. Everything that one
  read brought leaves in one write; tokens that arrive alone leave alone, by a way that is made for them; what comes
  with the answer's last byte leaves with the last frame.
- A large read is taken in pieces, so that its copies are never more than a piece; a client that lags is given the text
  of one read in one frame, by dialects that can.
- Above the client's high-water mark the upstream is paused; below the low one it goes on. A client that takes nothing
  for ``slow_client_timeout`` while bytes wait for it is dropped, also when the answer itself is complete.
- One timer per stream looks after heartbeats, silences and the deadline; it is set anew when it fires, not per token.
- A silence ends with a whole event: neither a part of one nor a byte now and then is a sign of life. Pings are one, but
  they do not begin an answer, which the first event of an attempt has a time of its own for.
- A stream is over when Claude's body is, or ``stop_grace`` after ``message_stop`` if the body lingers. An end without
  ``message_stop`` is a failure, and so is an ``error`` event, also a later one. Nothing counts after an error.
- What is counted is counted here and told once, at the end: nothing calls the metrics per token.
- Until the first event of an attempt was taken nothing of it has reached the client, and another may follow.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from gateway.core.call import Encoder
from gateway.core.claude import Fold, load_json
from gateway.core.errors import (
    GatewayError,
    GatewayFault,
    SlowClient,
    StreamTooLong,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamTruncated,
)
from gateway.core.flow import Flow
from gateway.core.sse import EventSplitter, EventTooLarge, parse_event
from gateway.relay.sides import Client, RelayLimits, Source
from gateway.relay.timing import Timing

HEARTBEAT = b":\n\n"
# How often in slow_client_timeout the client's progress is looked at.
_LOOKS = 4
# What came before the relay was there comes at once; splitting and encoding make copies of a piece of it only.
_PIECE = 64 * 1024
# Every so many tokens the way of one through the gateway is timed, for the first so many times.
_SAMPLE_EVERY = 64
_SAMPLES = 64
_NOT_BEGUN = "Claude did not begin an answer in time."
_WENT_SILENT = "Claude went silent in the middle of the answer."
# Before an attempt begins; they are never fed.
_NOTHING_READ = EventSplitter(0)
_NOTHING_SAID = Fold()


class Relay:
    """One client's stream, over as many attempts as it takes.

    Args:
        limits: Deadlines and bounds.
        deadline: Monotonic time at which the whole answer must be over.
        monotonic: Clock for intervals.
        unix: Clock for timestamps in frames.

    Attributes:
        failure: Why the stream is over, None when it ended well.
        fold: What Claude has said in the current attempt.
        encoder: Writes the client's frames in the current attempt.
        timing: When tokens came.
        sent: Bytes written to the client, before framing.
        pauses: Times the upstream was paused for the client.
        paused: Seconds for which it was, pauses that are over.
        heartbeats: Heartbeats sent.
        overheads: Seconds that a token took from its read to its write, sampled.
        taken: Whether an event of the current attempt has been taken, so that no other attempt may follow.
        held: Claude's error event that came before any other, as it came: sent when no other attempt follows.
    """

    __slots__ = (
        "_blocked",
        "_blocked_at",
        "_client",
        "_closed",
        "_cut",
        "_deadline",
        "_epoch",
        "_first_event_by",
        "_last_event",
        "_last_write",
        "_limits",
        "_loop",
        "_monotonic",
        "_over",
        "_progress_at",
        "_room",
        "_source",
        "_splitter",
        "_stopped_at",
        "_timer",
        "_timer_due",
        "_unix",
        "_waiter",
        "_waiting_bytes",
        "_whole",
        "encoder",
        "failure",
        "fold",
        "heartbeats",
        "held",
        "overheads",
        "paused",
        "pauses",
        "sent",
        "taken",
        "timing",
    )

    def __init__(
        self,
        limits: RelayLimits,
        deadline: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits
        self._deadline = deadline
        self._monotonic = monotonic
        self._unix = unix
        self._whole = min(_PIECE, limits.max_event)
        # Unix milliseconds at the monotonic clock's zero, and what rounding takes: a token reads one clock, not two.
        self._epoch = 0.0
        self._room = limits.max_stream
        self._loop = asyncio.get_running_loop()
        self._client: Client | None = None
        self._source: Source | None = None
        self._splitter = _NOTHING_READ
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._over = self._closed = False
        self._blocked: Client | None = None
        self._blocked_at = 0.0
        self._cut: GatewayError | None = None
        self._last_event = self._last_write = monotonic()
        self._first_event_by = math.inf
        self._stopped_at: float | None = None
        self._waiting_bytes = 0
        self._progress_at = 0.0
        self.failure: GatewayError | None = None
        self.fold = _NOTHING_SAID
        self.encoder: Encoder | None = None
        self.timing = Timing()
        self.sent = 0
        self.pauses = 0
        self.paused = 0.0
        self.heartbeats = 0
        self.overheads: list[float] = []
        self.taken = False
        self.held = b""

    @property
    def committed(self) -> bool:
        """Whether the client has been given a status."""
        return self._client is not None

    @property
    def held_bytes(self) -> int:
        """Bytes in memory for the client: what it has not taken, and the event that is not complete."""
        waiting = 0 if self._client is None else self._client.held_bytes
        return waiting + self._splitter.unfinished_bytes

    def flow(self) -> Flow | None:
        """Return how the stream flowed; None when there is nothing to tell."""
        merged = 0 if self.encoder is None else self.encoder.merged
        if not (self.pauses or self.heartbeats or merged or self.overheads):
            return None
        since = 0.0 if self._blocked is None else self._monotonic() - self._blocked_at
        return Flow(self.pauses, self.paused + since, self.heartbeats, merged, tuple(self.overheads))

    def commit(self, client: Client) -> None:
        """From now on the client is there to be written to, and kept awake."""
        self._client = client
        self._last_write = self._progress_at = self._monotonic()
        self._arm()

    def heartbeat(self) -> None:
        """Write a comment, which clients skip and proxies count as a sign of life."""
        if self._client is not None:
            self.heartbeats += 1
            self._write(HEARTBEAT, self._monotonic())

    def begin(self, source: Source, fold: Fold, encoder: Encoder, first_event_by: float) -> None:
        """Start an attempt; the source calls ``data``, ``end`` and ``fail`` as soon as the client is there.

        Args:
            source: Where the answer comes from.
            fold: Keeps its books.
            encoder: Writes the client's frames.
            first_event_by: Monotonic time at which the attempt has failed if no event has been taken.
        """
        self._source, self.fold, self.encoder = source, fold, encoder
        self._splitter = EventSplitter(self._limits.max_event)
        self._over, self.failure, self.taken, self.held, self._stopped_at = False, None, False, b"", None
        self._first_event_by = first_event_by
        self._last_event = now = self._monotonic()
        self._epoch = (self._unix() - now) * 1000 + 0.001
        self._room = self._limits.max_stream
        if self._cut is not None:
            self._end(self._cut)
            return
        if self._blocked is not None:  # by heartbeats, but still
            source.pause()
        if self._client is not None:  # else commit() does
            self._arm()

    async def run(self) -> None:
        """Return when the attempt is over and the client has taken what it brought; ``failure`` says how."""
        while self._blocked is not None or not self._over:
            if self._blocked is not None:
                await self._drain(self._blocked)
            else:
                self._waiter = self._loop.create_future()
                await self._waiter

    def close(self) -> None:
        """Stop the timer and, unless it is over in order, the upstream."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_source()

    def cut(self, error: GatewayError) -> None:
        """End the stream from outside, with an error for the client; also one that has not begun."""
        self._cut = error
        self._expire(error)

    # What the upstream's side calls.

    def data(self, chunk: bytes) -> None:
        """Take what one read brought, and write what comes of it."""
        encoder, client = self.encoder, self._client
        if self._over or encoder is None:
            return
        now = self._monotonic()
        size = len(chunk)
        self._room -= size
        try:
            if size > self._whole or self._room < 0:
                self._large(chunk, now)
            elif (
                client is None
                or self._splitter.unfinished
                or not (frames := encoder.single(chunk, now * 1000 + self._epoch))
            ):
                self._split(chunk, now)
            else:  # one token, come alone: what most reads of most streams are, and the rest would be as true of it
                self.taken = True
                if client.write(frames):
                    self._block(client, len(frames), now)
                self.sent += len(frames)
                self._last_event = self._last_write = now
                timing, fold = self.timing, self.fold
                last = timing.last_token
                if last is None or timing.first_text is None or now - last > timing.longest:
                    timing.token(now, text_seen=fold.text_seen)
                else:
                    timing.last_token = now
                if not fold.deltas % _SAMPLE_EVERY:
                    self._sample(now, 1)
        except BaseException:
            # A fault of ours: the client is told now, and the event loop's handler tells the operator.
            self._end(GatewayFault("Something went wrong inside the gateway."))
            raise

    def end(self) -> None:
        """The body is complete; is the answer?"""
        self._source = None
        if self._over:
            return
        rest = self._splitter.flush()
        if rest.strip() and (name := _name_of_whole(rest)) is not None:
            # Whatever is not the last event is given its blank line, or the error frame would become part of it.
            raw = rest if name == b"message_stop" else rest + b"\n\n"
            self._take(raw, [rest], self._monotonic())
        elif rest.isspace():  # line ends after the last event, for who relays byte by byte
            self._take(rest, [], self._monotonic())
        if not self._over:
            stopped = self.fold.stopped
            self._end(None if stopped else UpstreamTruncated("The answer from Claude ended before its end."))

    def fail(self, error: GatewayError) -> None:
        """The body will not be complete."""
        self._source = None
        # After message_stop nothing is missing but the framing's end.
        self._end(None if self.fold.stopped else error)

    def _large(self, chunk: bytes, now: float) -> None:
        for start in range(0, len(chunk), _PIECE):
            self._split(chunk[start : start + _PIECE], now)
        if self._room < 0:
            self._end(UpstreamMalformed("The answer from Claude is larger than this gateway takes."))

    def _split(self, chunk: bytes, now: float) -> None:
        if self._over:
            return
        try:
            raw, events = self._splitter.feed(chunk)
            if events:
                self._last_event = now
                self._take(raw, events, now)
        except EventTooLarge as error:
            self._take(error.raw, error.events, now)
            self._end(UpstreamMalformed("Claude sent an event that is larger than this gateway takes."))

    def _take(self, raw: bytes, events: list[bytes], now: float) -> None:
        fold, encoder = self.fold, self.encoder
        assert encoder is not None  # noqa: S101 - begin() comes first
        deltas, fresh = fold.deltas, not fold.started
        merge = encoder.merges and len(events) > 1 and self._lags()
        frames = encoder.feed(raw, events, now * 1000 + self._epoch, merge=merge)
        if fold.error is not None and fresh and not fold.deltas and fold.model is None:
            self.held = raw
            self._end(fold.error)
            return
        self.taken = self.taken or fold.started
        if frames:
            self._write(frames, now)
        if fold.deltas != deltas:
            self.timing.token(now, text_seen=fold.text_seen)
            if fold.deltas // _SAMPLE_EVERY != deltas // _SAMPLE_EVERY:
                self._sample(now, fold.deltas - deltas)
        if fold.error is not None:
            self._end(fold.error)
        elif fold.stopped and self._stopped_at is None:
            self._stopped_at = now
            if self._source is not None and not self._source.complete:
                self._arm()

    def _write(self, data: bytes, now: float) -> None:
        client = self._client
        if client is None:
            return
        if client.write(data, last=self._source is not None and self._source.complete):
            self._block(client, len(data), now)
        self.sent += len(data)
        self._last_write = now

    def _lags(self) -> bool:
        """Whether the client has fallen behind; asked only when a read brought several events, for it costs 1 µs."""
        after, client = self._limits.merge_after, self._client
        return self._blocked is not None or (self.sent > after and client is not None and client.waiting_bytes > after)

    def _sample(self, began: float, tokens: int) -> None:
        if len(self.overheads) < _SAMPLES:
            self.overheads.append((self._monotonic() - began) / tokens)

    def _block(self, client: Client, written: int, now: float) -> None:
        if self._blocked is not None:  # the rest of a read, and the last bytes of a body, can come after the pause
            self._waiting_bytes += written
            return
        self._blocked = client
        self._blocked_at = now
        self.pauses += 1
        self._waiting_bytes, self._progress_at = client.waiting_bytes, now
        if self._source is not None:
            self._source.pause()
        self._arm()
        self._wake()

    async def _drain(self, client: Client) -> None:
        await client.drain()
        self._blocked = None
        self._last_event = now = self._monotonic()
        self._first_event_by += now - self._blocked_at
        self.paused += now - self._blocked_at
        if self._source is not None:
            self._source.resume()
        self._arm()

    def _end(self, failure: GatewayError | None) -> None:
        if self._over:
            return
        self._over, self.failure = True, failure
        if failure is not None:
            self._stop_source()
        self._wake()

    def _stop_source(self) -> None:
        if self._source is not None:
            self._source.abort()
            self._source = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The timer.

    def _arm(self) -> None:
        """See to it that the timer fires in time; one that fires too early looks, and is set anew."""
        if self._closed:
            return
        now = self._monotonic()
        due = self._due(now)
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(max(0.001, due - now), self._tick)

    def _due(self, now: float) -> float:
        limits = self._limits
        if self._blocked is not None:
            return min(self._deadline, now + limits.slow_client_timeout / _LOOKS)
        due = self._last_write + limits.heartbeat
        if self._over:  # between two attempts: the client is kept awake
            return due
        due = min(due, self._deadline)
        if self._stopped_at is not None:
            return min(due, self._stopped_at + limits.stop_grace)
        if self._source is not None:
            return min(due, self._silent_at())
        return due

    def _silent_at(self) -> float:
        """Return when Claude will have been silent for too long; the pause of a client that lags is not its silence."""
        silent_at = self._last_event + self._limits.idle_timeout
        return silent_at if self.taken else min(silent_at, self._first_event_by)

    def _tick(self) -> None:
        self._timer = None
        now = self._monotonic()
        if self._over and self._blocked is None:
            self._beat(now)
        elif now >= self._deadline:
            self._expire(StreamTooLong("The answer took longer than this gateway allows."))
        elif self._blocked is not None:
            self._watch(self._blocked, now)
        elif self._stopped_at is not None and now >= self._stopped_at + self._limits.stop_grace:
            self._stop_source()
            self._end(None)
        elif self._source is not None and now >= self._silent_at():
            self._end(UpstreamTimeout(_WENT_SILENT if self.taken else _NOT_BEGUN))
        else:
            self._beat(now)
        self._arm()

    def _beat(self, now: float) -> None:
        if now >= self._last_write + self._limits.heartbeat:
            self.heartbeat()

    def _watch(self, client: Client, now: float) -> None:
        if client.waiting_bytes < self._waiting_bytes:
            self._waiting_bytes, self._progress_at = client.waiting_bytes, now
        elif now >= self._progress_at + self._limits.slow_client_timeout:
            self._expire(SlowClient("The client took nothing for too long."))

    def _expire(self, error: GatewayError) -> None:
        """End the stream; a client that does not read cannot be told why."""
        self._end(error)
        if self._blocked is not None:
            self.failure = self.failure or error  # a complete answer has not reached it either
            self._closed = True
            self._blocked.abort()


def _name_of_whole(event: bytes) -> bytes | None:
    """Return the name of an event that lacks its blank line and nothing else, None when it lacks more."""
    name, data = parse_event(event)
    try:
        load_json(data or b"")
    except ValueError:
        return name if data == b"[DONE]" else None
    return name
