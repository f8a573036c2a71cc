"""What streams and plain answers share: the attempts, the deadline, and being cut from outside."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Any, NoReturn

from aiohttp import web

from gateway.core.answer import OK, check_stream, refusal
from gateway.core.call import Call, Summary
from gateway.core.claude import Fold
from gateway.core.errors import (
    GatewayError,
    StreamTooLong,
    UpstreamCredential,
    UpstreamError,
    UpstreamMalformed,
    UpstreamTimeout,
    forget_way,
)
from gateway.core.principal import Principal
from gateway.ledger.writer import LedgerUnavailable
from gateway.upstream.attempts import Attempts
from gateway.upstream.collect import Collector
from gateway.upstream.interface import Exchange
from gateway.web.dialects import Dialect
from gateway.web.record import Record
from gateway.web.sending import Sending
from gateway.web.services import Services
from gateway.web.taking import unbooked

# Seconds; tokens that came all at once have no speed but that of the whole answer.
_BURST = 0.001


class Job(ABC):
    """One call to Claude for one request."""

    def __init__(self, request: web.Request, record: Record, services: Services, dialect: Dialect, call: Call) -> None:
        transport = services.transport
        total = transport.total_timeout if dialect.verbatim else transport.chat_timeout
        # With one upstream a client of the chat route is better off waiting: nobody else could answer instead.
        hurries = not dialect.verbatim and len(services.upstreams) > 1
        first_event = transport.chat_first_event_timeout if hurries else transport.first_event_timeout
        self.request = request
        self.record = record
        self.services = services
        self.dialect = dialect
        self.call = call
        self.deadline = record.started + total
        self.attempts = Attempts(
            services.upstreams, call, self._headers(), transport, self.wait, first_event=first_event
        )
        self._loop = asyncio.get_running_loop()
        self._woken: asyncio.Future[None] | None = None
        self._cut_error: GatewayError | None = None
        self._sending: Sending | None = None

    @property
    def principal(self) -> Principal | None:
        """Who asks."""
        return self.record.principal

    @property
    def held_bytes(self) -> int:
        """Bytes in memory for the client, as far as they are the gateway's own."""
        return 0

    def cut(self, error: GatewayError) -> None:
        """End it with an error, whatever it waits for; a client that has been told its end already is reset."""
        if self._cut_error is None:
            self._cut_error = error
            self._wake()
        if self._sending is not None:
            self._sending.fail(error)

    async def wait(self, future: asyncio.Future[Any], seconds: float) -> bool:
        """Wait for a future; False when the seconds are over first.

        Raises:
            StreamTooLong: The request's own deadline is over.
            GatewayError: It was cut from outside.
        """
        end = time.monotonic() + seconds
        while not future.done():
            now = time.monotonic()
            if self._cut_error is not None:
                raise self._cut_error
            if now >= self.deadline:
                raise StreamTooLong("The answer took longer than this gateway allows.")
            if now >= end:
                return False
            until = await self.meanwhile(now)
            await self._sleep(future, min(end, self.deadline, until) - now)
        return True

    async def _sleep(self, future: asyncio.Future[Any], seconds: float) -> None:
        """Return when the future is done, the seconds are over, or the job is cut; a tenth of asyncio.wait's price."""
        self._woken = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._wake)
        future.add_done_callback(self._wake)
        try:
            await self._woken
        finally:
            timer.cancel()
            future.remove_done_callback(self._wake)

    def _wake(self, _: object = None) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def meanwhile(self, now: float) -> float:  # noqa: ARG002 - streams commit here
        """Do what is due for the client while the upstream is waited for; return when to look again."""
        return float("inf")

    @abstractmethod
    async def run(self) -> web.StreamResponse:
        """Return the response when it is over.

        Raises:
            GatewayError: It failed before the client was given a status.
        """

    async def answered(self) -> Exchange:
        """Return a good answer, of which nothing but the head has been looked at.

        Raises:
            GatewayError: There is none.
        """
        while True:
            exchange = await self.attempts.answer()
            self.note(exchange)
            try:
                if exchange.status != OK:
                    await self.refuse(exchange)
                if self.call.stream:
                    check_stream(exchange.headers)
            except (UpstreamCredential, UpstreamMalformed) as error:
                if not await self.attempts.again(error):
                    raise
            else:
                return exchange

    async def refuse(self, exchange: Exchange) -> NoReturn:
        """Raise the error in an answer that is not a 200; its status counts, whatever is wrong with its body.

        Raises:
            GatewayError: Always.
        """
        try:
            body = await self.collect(exchange, int(self.services.transport.max_refusal))
        except UpstreamError as error:
            forget_way(error)
            body = b""
        raise refusal(exchange.status, exchange.headers, body, time.time())

    async def collect(self, exchange: Exchange, limit: int) -> bytes:
        """Return the whole body of an answer, without our credential if it is quoted there."""
        collector = Collector(exchange, limit)
        exchange.attach(collector)
        if not await self.wait(collector.done, self.services.transport.idle_timeout):
            exchange.abort()
            raise UpstreamTimeout("Claude did not finish its answer in time.")
        return exchange.hide(collector.body())

    async def booked(self) -> None:
        """Return when the ledger has the request's row for good: before its first token goes out.

        Raises:
            StoreUnavailable: It cannot have it.
            GatewayError: The request was cut, or its deadline is over.
        """
        booking, self.record.booking = self.record.booking, None
        if booking is None:
            return
        if not booking.done():
            await self.wait(booking, float("inf"))
        try:
            booking.result()
        except LedgerUnavailable as error:
            unbooked(self.services, self.record, error)

    def note(self, exchange: Exchange) -> None:
        """Note what the upstream's head says."""
        self.record.asked = True
        self.record.upstream_request_id = exchange.headers.get("request-id")

    def close(self) -> None:
        """End whatever still runs, and note what was done upstream."""
        self.attempts.close()
        record, attempts = self.record, self.attempts
        record.attempts, record.upstream = attempts.count, attempts.upstream
        record.upstream_started, record.last_attempt_started = attempts.started, attempts.last_started
        record.tried(attempts.tries)

    def summary(self, request_id: str) -> Summary:
        """Return what the client is told at a good end."""
        record = self.record
        fold = record.fold or Fold()
        timing = record.timing
        usage, cost = record.bill(self.services.prices)
        now = time.monotonic()
        first = record.since_start(timing.first_token)
        seconds = 0.0 if timing.first_token is None else now - timing.first_token
        if seconds < _BURST:
            seconds = now - record.started
        return Summary(
            request_id=request_id,
            model=fold.model,
            stop_reason=fold.stop_reason,
            usage=usage,
            time_to_first_token_ms=None if first is None else round(first * 1000),
            duration_ms=round((now - record.started) * 1000),
            tokens_per_second=usage.output_tokens / seconds if usage else None,
            cost_usd=cost,
            quota=record.standing(self.services.prices),
        )

    def _headers(self) -> dict[str, str]:
        headers = dict(self.call.headers)
        trace = self.record.trace
        if trace.traceparent:
            headers["traceparent"] = trace.traceparent
        if trace.tracestate:
            headers["tracestate"] = trace.tracestate
        return headers
