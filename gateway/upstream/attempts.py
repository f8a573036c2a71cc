"""The way to an answer: attempts at the upstreams in order, until one answers or the time for it is over.

- Only before the first event: whoever has seen one asks for no other attempt.
- A failed attempt goes on at once to the next upstream that this request has not tried. When all were tried there is a
  wait, and they are tried again, as often as ``retries`` says and no later than ``retry_budget``.
- A connection that was kept alive and turns out closed is replaced silently: that is no attempt, and no failure.
- Every wait is a wait for a future that the caller may bound, so that it can tell its own client something meanwhile.
- Whoever is cancelled, or fails for good, leaves no connection behind.
- Of every attempt the upstream's breaker is told the end exactly once, at the latest by ``close``. A request counts
  against an upstream once, however often it was tried there, and not at all when events of its answer were passed on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gateway.core.breaker import is_failure
from gateway.core.call import Call
from gateway.core.claude import TYPE_OF_STATUS
from gateway.core.errors import (
    GatewayError,
    StreamTooLong,
    UpstreamCredential,
    UpstreamTimeout,
    UpstreamUnreachable,
    forget_way,
)
from gateway.core.pauses import kind_of
from gateway.core.retry import Next, after_error, after_refusal, next_wait, retry_after
from gateway.upstream.interface import Exchange, Upstream
from gateway.upstream.routing import Candidate, Upstreams
from gateway.upstream.settings import TransportSettings

# Waits until the future is done (True) or the seconds are over (False); may raise to give up.
Wait = Callable[["asyncio.Future[Any]", float], Awaitable[bool]]

_FIRST_ERROR = 400
_RATE_LIMITED = 429
_SERVER_ERROR = 500


@dataclass(slots=True)
class Try:
    """One attempt, on the monotonic clock.

    Attributes:
        ended: When it was given up; None for the last one, which ends with the request.
        error: The code of what it failed with, if another was to follow.
    """

    upstream: str
    started: float
    ended: float | None = None
    error: str = ""


class Attempts:
    """The attempts of one request; call ``close`` at its end.

    Args:
        upstreams: Where to try, in order.
        call: What to send.
        headers: Headers beside the upstream's own.
        settings: Deadlines and the retry policy.
        wait: How the caller waits.
        first_event: Seconds from a request sent to a stream's first event, and to the head of what is no stream; those
            of the settings, if None.
        jitter: A random number from 0 to 1.

    Attributes:
        count: Attempts so far.
        upstream: Name of the last one tried.
        started: Monotonic time of the first attempt's start, None before.
        last_started: The same of the last attempt.
        tries: What each was, in order.
        first_event_by: Monotonic time by which the stream of the last attempt must have begun.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        call: Call,
        headers: dict[str, str],
        settings: TransportSettings,
        wait: Wait,
        *,
        first_event: float | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._upstreams = upstreams
        self._call = call
        self._kind = kind_of(call)
        self._headers = headers
        self._settings = settings
        self._wait = wait
        self._first_event = settings.first_event_timeout if first_event is None else first_event
        self._jitter = jitter
        self._candidate: Candidate | None = None
        self._ticket: int | None = None  # of the candidate's breaker, until it is told the end
        self._tried: list[Candidate] = []  # in this round
        self._limited = False  # in this round, by a 429
        self._failed: list[Candidate] = []  # in any
        self._rounds = 0  # that are over
        self._asked: list[float | None] = []  # for a wait, by those who failed in this round
        self.count = 0
        self.tries: list[Try] = []
        self.upstream = ""
        self.started: float | None = None
        self.last_started = 0.0
        self.first_event_by = 0.0
        self.exchange: Exchange | None = None

    async def answer(self) -> Exchange:
        """Return an exchange whose head is there: Claude's answer, or its last refusal.

        Raises:
            GatewayError: No upstream could be asked.
        """
        try:
            return await self._answer()
        except BaseException as error:
            if isinstance(error, GatewayError):
                self.failed(error)
            self.abort()
            raise

    async def again(self, error: GatewayError) -> bool:
        """Prepare the next attempt after a failure, which may take a wait; False when there is to be none."""
        self.failed(error)
        forget_way(error)  # the attempt keeps the error, and the error would keep whoever awaited the attempt
        return await self._next(after_error(error), error.code, error.retry_after)

    def failed(self, error: GatewayError) -> None:
        """Tell why the attempt came to nothing, not even to an event; passed over if the upstream is not at fault."""
        candidate, now = self._candidate, time.monotonic()
        if candidate is None:
            return
        if isinstance(error, UpstreamCredential):
            candidate.refused(self._kind, error.code, now)
        if self._ticket is not None and (is_failure(error) or self._hung(error, now)):
            self._fail(candidate, self._ticket, f"{error.code}: {error.detail}" if error.detail else error.code)

    def close(self) -> None:
        """End what is under way, and tell how it ended: well when the answer is complete, else nothing is known."""
        if self._candidate is not None and self._ticket is not None:
            if self.exchange is not None and self.exchange.complete:
                self._candidate.ended(self._ticket, time.monotonic())
            else:
                self._candidate.released(self._ticket)
            self._ticket = None
        self.abort()
        self._wait = _waited  # whoever waits holds this: without it both are gone now, not when garbage is collected

    def abort(self) -> None:
        """End what is under way."""
        if self.exchange is not None:
            self.exchange.abort()

    async def _answer(self) -> Exchange:
        while True:
            if self._ticket is None and not self._choose():
                raise self._upstreams.unavailable(time.monotonic())
            try:
                exchange = await self._try()
            except GatewayError as error:
                if not await self.again(error):
                    raise
                continue
            status, headers = exchange.status, exchange.headers
            if status < _FIRST_ERROR:
                return exchange
            code = f"upstream_{TYPE_OF_STATUS.get(status, 'api_error')}"
            if not await self._next(after_refusal(status, headers), code, retry_after(headers, time.time())):
                return exchange

    def _choose(self) -> bool:
        chosen = self._upstreams.choose(self._kind, self._tried, time.monotonic(), limited=self._limited)
        if chosen is None:
            return False
        self._candidate, self._ticket = chosen
        return True

    async def _next(self, following: Next, code: str, asked: float | None) -> bool:
        left = self._candidate
        if left is None:
            return False
        self.tries[-1].ended, self.tries[-1].error = time.monotonic(), code
        if following == "nothing":
            return False
        self._release()
        self._asked.append(asked)
        if self._in_time() and self._choose():
            self.abort()
            self._upstreams.watch.failover(left.name, code)
            return True
        return following == "anywhere" and await self._backoff(left, code)

    def _in_time(self) -> bool:
        """Say whether another upstream may be asked: in the first round always, as it may be the one that answers."""
        return not self._rounds or self._remaining() > 0

    async def _backoff(self, left: Candidate, code: str) -> bool:
        if self._rounds >= self._settings.retries:
            return False
        asked = None if None in self._asked else min(filter(None, self._asked), default=None)
        remaining = self._remaining()
        wait = next_wait(self._rounds + 1, asked, remaining, self._jitter())
        if wait is None:
            return False
        now = time.monotonic()
        wait = max(wait, self._upstreams.free_at(now) - now)
        if wait > remaining:
            return False
        self.abort()
        self._upstreams.watch.retry(left.name, code)
        self._rounds += 1
        self._tried.clear()
        self._limited = False
        self._asked.clear()
        await self._wait(asyncio.get_running_loop().create_future(), wait)
        return True

    def _remaining(self) -> float:
        return self._settings.retry_budget - (time.monotonic() - (self.started or 0.0))

    def _release(self) -> None:
        if self._candidate is not None and self._ticket is not None:
            self._candidate.released(self._ticket)
            self._ticket = None

    async def _try(self) -> Exchange:
        candidate, ticket = self._candidate, self._ticket
        assert candidate is not None  # noqa: S101 - one has been chosen
        assert ticket is not None  # noqa: S101 - the same
        self.last_started = time.monotonic()
        if self.started is None:
            self.started = self.last_started
        self._tried.append(candidate)
        self.count += 1
        self.upstream = candidate.name
        self.tries.append(Try(candidate.name, self.last_started))
        exchange = await self._ask(candidate.upstream)
        self._heard(candidate, ticket, exchange)
        return exchange

    def _heard(self, candidate: Candidate, ticket: int, exchange: Exchange) -> None:
        status, headers, now = exchange.status, exchange.headers, time.monotonic()
        if status < _FIRST_ERROR:
            candidate.answered(ticket, self._kind, headers, now)
        elif status < _SERVER_ERROR:
            candidate.declined(ticket, self._kind, status, headers, now)
            self._ticket = None
            self._limited = self._limited or status == _RATE_LIMITED
        else:
            self._fail(candidate, ticket, f"status {status}")

    def _fail(self, candidate: Candidate, ticket: int, cause: str) -> None:
        candidate.failed(ticket, time.monotonic(), cause, again=candidate in self._failed)
        self._failed.append(candidate)
        self._ticket = None

    async def _ask(self, upstream: Upstream) -> Exchange:
        exchange = await self._send(upstream, fresh=False)
        try:
            return await self._head(exchange)
        except UpstreamUnreachable as error:
            # Nothing of an answer came on a connection that had been idle: Claude had closed it already.
            if not exchange.reused:
                raise
            forget_way(error)
        return await self._head(await self._send(upstream, fresh=True))

    async def _send(self, upstream: Upstream, *, fresh: bool) -> Exchange:
        future = upstream.pool.acquire(fresh=fresh)
        if not future.done():
            try:
                await self._wait(future, float("inf"))
            except BaseException:
                _give_back(future)
                raise
        self.exchange = exchange = upstream.send(future.result(), self._call, self._headers)
        self.first_event_by = time.monotonic() + self._first_event
        return exchange

    async def _head(self, exchange: Exchange) -> Exchange:
        if not exchange.head.done() and not await self._wait(exchange.head, self._head_timeout()):
            exchange.abort()
            raise UpstreamTimeout("Claude did not begin an answer in time.")
        exchange.head.result()
        return exchange

    def _head_timeout(self) -> float:
        """Return the longest wait for a head: that of a whole message comes when all of it has been generated."""
        return float("inf") if self._whole() else self._first_event

    def _whole(self) -> bool:
        return self._call.max_tokens is not None and not self._call.stream

    def _hung(self, error: GatewayError, now: float) -> bool:
        """Say whether the request's own time went by without an event, most of it in this attempt."""
        silent = isinstance(error, StreamTooLong) and not self._whole()
        return silent and self.started is not None and 2 * self.last_started <= self.started + now


async def _waited(_: asyncio.Future[Any], __: float) -> bool:
    return False


def _give_back(future: asyncio.Future[Any]) -> None:
    if not future.cancel() and future.exception() is None:
        future.result().close()
