"""The way to an answer: attempts at the upstreams in order, until one answers or the time for it is over.

- Only before the first event: whoever has seen one asks for no other attempt.
- A connection that was kept alive and turns out closed is replaced silently: that is no attempt.
- Every wait is a wait for a future that the caller may bound, so that it can tell its own client something meanwhile.
- Whoever is cancelled, or fails for good, leaves no connection behind.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from gateway.core.call import Call
from gateway.core.claude import TYPE_OF_STATUS, retryable_status
from gateway.core.errors import GatewayError, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.core.retry import next_wait, retry_after, should_retry
from gateway.upstream.client import Upstream
from gateway.upstream.connection import Connection, Exchange
from gateway.upstream.settings import TransportSettings

# Waits until the future is done (True) or the seconds are over (False); may raise to give up.
Wait = Callable[["asyncio.Future[None] | asyncio.Future[Connection]", float], Awaitable[bool]]


class Attempts:
    """The attempts of one request.

    Args:
        upstreams: Where to try, in order.
        call: What to send.
        headers: Headers beside the upstream's own.
        settings: Deadlines and the retry policy.
        wait: How the caller waits.
        on_retry: Told of every further attempt: the upstream that failed, and the error's code.
        jitter: A random number from 0 to 1.

    Attributes:
        count: Attempts so far.
        upstream: Name of the last one tried.
        started: Monotonic time of the first attempt's start, None before.
        last_started: The same of the last attempt.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        call: Call,
        headers: dict[str, str],
        settings: TransportSettings,
        wait: Wait,
        on_retry: Callable[[str, str], None] = lambda _upstream, _code: None,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._upstreams = upstreams
        self._call = call
        self._headers = headers
        self._settings = settings
        self._wait = wait
        self._on_retry = on_retry
        self._jitter = jitter
        self.count = 0
        self.upstream = ""
        self.started: float | None = None
        self.last_started = 0.0
        self.exchange: Exchange | None = None

    async def answer(self) -> Exchange:
        """Return an exchange whose head is there: Claude's answer, or its last refusal.

        Raises:
            GatewayError: No upstream could be asked.
        """
        try:
            return await self._answer()
        except BaseException:
            self.abort()
            raise

    async def _answer(self) -> Exchange:
        while True:
            try:
                exchange = await self._try()
            except UpstreamError as error:
                if not await self.again(error):
                    raise
                continue
            headers = exchange.headers
            told = should_retry(headers)
            retry = retryable_status(exchange.status) if told is None else told and exchange.status >= 400  # noqa: PLR2004
            code = f"upstream_{TYPE_OF_STATUS.get(exchange.status, 'api_error')}"
            if not retry or not await self._backoff(code, retry_after(headers, time.time())):
                return exchange

    async def again(self, error: GatewayError) -> bool:
        """Wait for the next attempt's time after a failure; False when there is to be none."""
        retry = isinstance(error, UpstreamError) and error.retryable
        return retry and await self._backoff(error.code, error.retry_after)

    def abort(self) -> None:
        """End what is under way."""
        if self.exchange is not None:
            self.exchange.abort()

    async def _backoff(self, code: str, asked: float | None) -> bool:
        if self.count > self._settings.retries or self.started is None:
            return False
        remaining = self._settings.retry_budget - (time.monotonic() - self.started)
        wait = next_wait(self.count, asked, remaining, self._jitter())
        if wait is None:
            return False
        self.abort()
        self._on_retry(self.upstream, code)
        await self._wait(asyncio.get_running_loop().create_future(), wait)
        return True

    async def _try(self) -> Exchange:
        self.last_started = time.monotonic()
        if self.started is None:
            self.started = self.last_started
        upstream = self._upstreams[self.count % len(self._upstreams)]
        self.count += 1
        self.upstream = upstream.name
        exchange = await self._send(upstream, fresh=False)
        try:
            return await self._head(exchange)
        except UpstreamUnreachable:
            # Nothing of an answer came on a connection that had been idle: Claude had closed it already.
            if not exchange.reused:
                raise
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
        return exchange

    async def _head(self, exchange: Exchange) -> Exchange:
        if not exchange.head.done() and not await self._wait(exchange.head, self._head_timeout()):
            exchange.abort()
            raise UpstreamTimeout("Claude did not begin an answer in time.")
        exchange.head.result()
        return exchange

    def _head_timeout(self) -> float:
        """Return the longest wait for a head: that of a whole message comes when all of it has been generated."""
        whole = self._call.max_tokens is not None and not self._call.stream
        return float("inf") if whole else self._settings.first_byte_timeout


def _give_back(future: asyncio.Future[Connection]) -> None:
    if not future.cancel() and future.exception() is None:
        future.result().close()
