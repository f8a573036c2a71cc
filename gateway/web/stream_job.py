"""One streamed answer: from the upstream's first byte to the client's last.

- The status is held until the upstream answers, for at most ``commit_after``; then 200 goes out with a heartbeat, and
  what fails later is an ``error`` frame.
- Before the first event another attempt may follow; after it none.
- Every end is told: a good one by the dialect's last frame, a bad one by an error frame, and where the client cannot
  be told any more its connection is reset, never closed in order.
"""

from __future__ import annotations

import asyncio
import time

from aiohttp import web
from aiohttp.http import HttpVersion11

from gateway.core.answer import OK, check_stream, refusal, returned_headers
from gateway.core.call import Call, Summary
from gateway.core.claude import Fold
from gateway.core.errors import GatewayError, SlowClient, StreamTooLong, UpstreamError, UpstreamRefused, UpstreamTimeout
from gateway.core.principal import Principal
from gateway.relay import Relay, RelayLimits
from gateway.upstream.attempts import Attempts
from gateway.upstream.collect import Collector
from gateway.upstream.connection import Connection, Exchange
from gateway.web.client_side import ClientSide, reset
from gateway.web.dialects import Dialect
from gateway.web.record import Record
from gateway.web.services import Services

_HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}
# Seconds; tokens that came all at once have no speed but that of the whole answer.
_BURST = 0.001


class Job:
    """What streams and plain answers share: the attempts, the deadline, and being cut from outside."""

    def __init__(self, request: web.Request, record: Record, services: Services, dialect: Dialect, call: Call) -> None:
        transport = services.transport
        total = transport.total_timeout if dialect.verbatim else transport.chat_timeout
        self.request = request
        self.record = record
        self.services = services
        self.dialect = dialect
        self.call = call
        self.deadline = record.started + total
        self.attempts = Attempts(
            services.upstreams, call, self._headers(), transport, self.wait, services.metrics.retry
        )
        self._cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cut_error: GatewayError | None = None

    @property
    def principal(self) -> Principal | None:
        """Who asks."""
        return self.record.principal

    def cut(self, error: GatewayError) -> None:
        """End it with an error, whatever it waits for."""
        if not self._cut.done():
            self._cut_error = error
            self._cut.set_result(None)

    async def wait(self, future: asyncio.Future[None] | asyncio.Future[Connection], seconds: float) -> bool:
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
            await asyncio.wait(
                {future, self._cut}, timeout=min(end, self.deadline, until) - now, return_when="FIRST_COMPLETED"
            )
        return True

    async def meanwhile(self, now: float) -> float:  # noqa: ARG002 - streams commit here
        """Do what is due for the client while the upstream is waited for; return when to look again."""
        return float("inf")

    async def run(self) -> web.StreamResponse:
        """Return the response when it is over.

        Raises:
            GatewayError: It failed before the client was given a status.
        """
        raise NotImplementedError

    async def refused(self, exchange: Exchange) -> GatewayError:
        """Return the error in an answer that is not a 200; its status counts, whatever is wrong with its body."""
        try:
            body = await self.collect(exchange, int(self.services.transport.max_refusal))
        except UpstreamError:
            body = b""
        return refusal(exchange.status, exchange.headers, body, time.time())

    async def collect(self, exchange: Exchange, limit: int) -> bytes:
        """Return the whole body of an answer."""
        collector = Collector(exchange, limit)
        exchange.attach(collector)
        if not await self.wait(collector.done, self.services.transport.idle_timeout):
            exchange.abort()
            raise UpstreamTimeout("Claude did not finish its answer in time.")
        return collector.body()

    def note(self, exchange: Exchange) -> None:
        """Note what the upstream's head says."""
        self.record.upstream_request_id = exchange.headers.get("request-id")

    def close(self) -> None:
        """End whatever still runs, and note what was done upstream."""
        self.attempts.abort()
        record, attempts = self.record, self.attempts
        record.attempts, record.upstream = attempts.count, attempts.upstream
        record.upstream_started, record.last_attempt_started = attempts.started, attempts.last_started

    def summary(self, request_id: str) -> Summary:
        """Return what the client is told at a good end."""
        record = self.record
        fold = record.fold or Fold()
        usage, timing = fold.usage(), record.timing
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
            cost_usd=record.cost(self.services.prices),
        )

    def _headers(self) -> dict[str, str]:
        headers = dict(self.call.headers)
        if self.record.traceparent:
            headers["traceparent"] = self.record.traceparent
        if self.record.tracestate:
            headers["tracestate"] = self.record.tracestate
        return headers


class StreamJob(Job):
    """A streamed answer."""

    def __init__(self, request: web.Request, record: Record, services: Services, dialect: Dialect, call: Call) -> None:
        super().__init__(request, record, services, dialect, call)
        server, transport = services.server, services.transport
        limits = RelayLimits(
            server.heartbeat,
            transport.idle_timeout,
            server.slow_client_timeout,
            transport.max_event,
            transport.stop_grace,
            transport.max_stream,
            server.merge_after,
        )
        self.relay = Relay(limits, self.deadline)
        self._commit_at = record.started + server.commit_after
        self._response: web.StreamResponse | None = None
        self._told = False

    async def run(self) -> web.StreamResponse:
        """Return the response when the stream is over.

        Raises:
            GatewayError: It failed before the client was given a status.
        """
        self.record.timing = self.relay.timing
        try:
            while True:
                await self._attempt()
                failure = self.relay.failure
                if failure is None:
                    return await self._finish(self._done())
                if self.relay.taken or not await self.attempts.again(failure):
                    raise failure
        except GatewayError as error:
            self.record.fail(error)
            if self._response is None:
                raise
            return await self._finish(self._error(error))

    def cut(self, error: GatewayError) -> None:
        """End it with an error, whatever it waits for."""
        super().cut(error)
        self.relay.cut(error)
        if self.relay.committed:
            self.record.fail(error)

    def close(self) -> None:
        """End whatever still runs, and note what was done; a client that was not told the end is told by a reset."""
        if self.relay.failure is not None:
            self.record.fail(self.relay.failure)
        self.relay.close()
        if self._response is not None and not self._told:
            reset(self.request.transport)
        super().close()
        self.record.client_bytes = self.relay.sent

    async def meanwhile(self, now: float) -> float:
        """Commit to 200 when it is time for it."""
        if self._response is None and now >= self._commit_at:
            await self._commit({})
            self.relay.heartbeat()
        return self._commit_at if self._response is None else float("inf")

    async def _attempt(self) -> None:
        """Relay one attempt to its end; ``relay.failure`` says how it ended."""
        exchange = await self.attempts.answer()
        self.note(exchange)
        if exchange.status != OK:
            raise await self.refused(exchange)
        check_stream(exchange.headers)
        if self._response is None:
            await self._commit(returned_headers(exchange.headers))
        fold = self.record.fold = Fold(self.call.max_tokens)
        self.relay.begin(exchange, fold, self.dialect.encoder(fold, self.call))
        exchange.attach(self.relay)
        await self.relay.run()

    async def _commit(self, headers: dict[str, str]) -> None:
        request, record = self.request, self.record
        chunked = request.version >= HttpVersion11
        response = web.StreamResponse(headers={"Content-Type": self.dialect.content_type, **_HEADERS, **headers})
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.force_close()  # the connection's end is the answer's
        writer = await response.prepare(request)
        if writer is None:
            raise ConnectionResetError
        self._response, record.status = response, response.status
        server = self.services.server
        self.relay.commit(ClientSide(request, writer, int(server.write_buffer), chunked=chunked))

    def _done(self) -> bytes:
        encoder = self.relay.encoder
        return b"" if encoder is None else encoder.done(self.summary(self.record.request_id), int(time.time() * 1000))

    def _error(self, error: GatewayError) -> bytes:
        relay = self.relay
        encoder = relay.encoder or self.dialect.encoder(Fold(), self.call)
        if encoder.forwards_errors and isinstance(error, UpstreamRefused) and error is relay.fold.error:
            return relay.held  # as it came; it has been forwarded already unless it was the first event
        return encoder.error(error, self.record.request_id, int(time.time() * 1000))

    async def _finish(self, frame: bytes) -> web.StreamResponse:
        response = self._response
        if response is None:
            raise ConnectionResetError
        self.relay.close()
        self.relay.sent += len(frame)
        try:
            async with asyncio.timeout(self.services.server.slow_client_timeout):
                await response.write_eof(frame)
        except TimeoutError:
            self.record.fail(SlowClient("The client took nothing for too long."))
        else:
            self._told = True
        return response
