"""A relay between two fakes at the byte seam: a client that takes bytes when told to, and a source that can be paused."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.core.claude import Fold
from gateway.core.dialects.chat import ChatEncoder
from gateway.core.dialects.messages import MessagesEncoder
from gateway.relay import HEARTBEAT, Relay, RelayLimits

HIGH_WATER = 1000
LIMITS = RelayLimits(
    heartbeat=15.0,
    idle_timeout=120.0,
    slow_client_timeout=30.0,
    max_event=10_000,
    stop_grace=1.0,
    max_stream=100_000_000,
    merge_after=16_384,
)


class FakeClient:
    """Takes everything at once, or, when blocked, only what it is told to take."""

    def __init__(self, *, blocked: bool = False) -> None:
        self.blocked = blocked
        self.written: list[bytes] = []
        self.waiting_bytes = 0
        self.writing_paused = False
        self.aborted = False
        self.most_waiting = 0
        self._drained: asyncio.Future[None] | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.written)

    @property
    def events(self) -> bytes:
        """What was written besides heartbeats."""
        return b"".join(data for data in self.written if data != HEARTBEAT)

    @property
    def held_bytes(self) -> int:
        return self.waiting_bytes

    def write(self, data: bytes, *, last: bool = False) -> bool:  # noqa: ARG002 - nothing follows here
        assert data
        assert not self.aborted
        self.written.append(data)
        if self.blocked:
            self.waiting_bytes += len(data)
            self.most_waiting = max(self.most_waiting, self.waiting_bytes)
            self.writing_paused = self.waiting_bytes > HIGH_WATER
        return self.writing_paused

    def take(self, count: int) -> None:
        """Take some of what waits."""
        self.waiting_bytes = max(0, self.waiting_bytes - count)
        if self.writing_paused and self.waiting_bytes <= HIGH_WATER // 4:
            self.writing_paused = False
            self._release()

    async def drain(self) -> None:
        if self.writing_paused:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def abort(self) -> None:
        assert not self.aborted
        self.aborted = True
        self._release()

    def _release(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)


class FakeSource:
    def __init__(self) -> None:
        self.complete = False
        self.paused = False
        self.pauses = 0
        self.aborted = False

    def pause(self) -> None:
        assert not self.paused
        assert not self.aborted
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        assert not self.aborted
        self.paused = False

    def abort(self) -> None:
        assert not self.aborted
        self.aborted = True


class Stage:
    """A relay, its client, and the source of the current attempt."""

    def __init__(
        self,
        *,
        dialect: str = "messages",
        deadline: float = 600.0,
        first_event: float = 120.0,
        blocked: bool = False,
        **limits: Any,
    ):
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        settings = {name: getattr(LIMITS, name) for name in RelayLimits.__slots__} | limits
        self.relay = Relay(
            RelayLimits(**settings), self.began + deadline, monotonic=self.loop.time, unix=lambda: 1764000000.0
        )
        self.client = FakeClient(blocked=blocked)
        self.dialect = dialect
        self.first_event = first_event
        self.source = FakeSource()

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.loop.time() - self.began

    def begin(self, *, commit: bool = True) -> Stage:
        """Commit, if that has not been done, and start an attempt."""
        if commit and not self.relay.committed:
            self.relay.commit(self.client)
        self.source, fold = FakeSource(), Fold()
        encoder = MessagesEncoder(fold) if self.dialect == "messages" else ChatEncoder(fold)
        self.relay.begin(self.source, fold, encoder, self.loop.time() + self.first_event)
        return self

    def read(self, *chunks: bytes) -> Stage:
        """Bring the relay some reads, as a source does that is not paused."""
        for chunk in chunks:
            assert not self.source.paused
            self.relay.data(chunk)
        return self

    async def after(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due by then."""
        await asyncio.sleep(seconds)
        await asyncio.sleep(0)

    async def run(self) -> None:
        """Wait for the attempt's end, however long it takes."""
        async with asyncio.timeout(100_000):
            await self.relay.run()

    def close(self) -> None:
        """Close, and see that no timer is left."""
        self.relay.close()
        timers = [timer for timer in self.loop._scheduled if not timer.cancelled()]
        assert not any(getattr(timer._callback, "__self__", None) is self.relay for timer in timers)
