"""One streamed answer: from the upstream's first byte to the client's last.

- The status is held until the upstream answers, for at most ``commit_after``; then 200 goes out with a heartbeat, and
  what fails later is an ``error`` frame.
- Before the first event another attempt may follow; after it none.
- Every end is told: a good one by the dialect's last frame, a bad one by an error frame, and where the client cannot
  be told any more its connection is reset, never closed in order.
"""

from __future__ import annotations

import time

from aiohttp import web
from aiohttp.http import HttpVersion11

from gateway.core.answer import returned_headers
from gateway.core.call import Call
from gateway.core.claude import Fold
from gateway.core.errors import GatewayError, UpstreamError, UpstreamRefused
from gateway.relay import Relay
from gateway.web.client_side import ClientSide, reset
from gateway.web.dialects import Dialect
from gateway.web.job import Job
from gateway.web.record import Record
from gateway.web.sending import Sending
from gateway.web.services import Services

_HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}


class _Response(web.StreamResponse):
    """Leaves its head to ``ClientSide``, which sends it with the first bytes."""

    _send_headers_immediately = False


class StreamJob(Job):
    """A streamed answer."""

    def __init__(self, request: web.Request, record: Record, services: Services, dialect: Dialect, call: Call) -> None:
        super().__init__(request, record, services, dialect, call)
        self.relay = Relay(services.relay, self.deadline)
        self._commit_at = record.started + services.server.commit_after
        self._response: web.StreamResponse | None = None
        self._client: ClientSide | None = None
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
                self.relay.failure = None  # another attempt may follow, and a client that leaves before it has met none
                if self.relay.taken or not await self.attempts.again(failure):
                    raise failure
        except GatewayError as error:
            self.record.fail(error)
            if not self.relay.taken:
                self.attempts.failed(error)
            if self._response is None:
                raise
            return await self._finish(self._error(error))

    @property
    def held_bytes(self) -> int:
        """Bytes in memory for the client."""
        return self.relay.held_bytes

    def cut(self, error: GatewayError) -> None:
        """End it with an error, whatever it waits for."""
        super().cut(error)
        self.relay.cut(error)
        if self.relay.committed:
            self.record.fail(error)

    def close(self) -> None:
        """End whatever still runs, and note what was done; a client that was not told the end is told by a reset."""
        failure = self.relay.failure
        if failure is not None and (self.relay.taken or not isinstance(failure, UpstreamError)):
            self.record.fail(failure)  # of others nobody knows whether another attempt would have made them good
        self.relay.close()
        if self._response is not None and not self._told:
            reset(self.request.transport)
        super().close()
        self.record.client_bytes = self.relay.sent
        self.record.flow = self.relay.flow()

    async def meanwhile(self, now: float) -> float:
        """Commit to 200 when it is time for it."""
        if self._response is None and now >= self._commit_at:
            await self._commit({})
            self.relay.heartbeat()
        return self._commit_at if self._response is None else float("inf")

    async def _attempt(self) -> None:
        """Relay one attempt to its end; ``relay.failure`` says how it ended."""
        exchange = await self.answered()
        await self.booked()
        fold = self.record.fold = Fold(self.call.max_tokens, exchange.hide, self.call.entered_tokens)
        self.relay.begin(exchange, fold, self.dialect.encoder(fold, self.call), self.attempts.first_event_by)
        client = self._client or await self._commit(returned_headers(exchange.headers))
        exchange.attach(self.relay)
        if not client.kept:
            client.send_head()  # unless it went out with what had come already
        await self.relay.run()
        if self.relay.failure is not None:  # the end is not this attempt's
            client.send_kept()

    async def _commit(self, headers: dict[str, str]) -> ClientSide:
        request, record = self.request, self.record
        chunked = request.version >= HttpVersion11
        response = _Response(headers={"Content-Type": self.dialect.content_type, **_HEADERS, **headers})
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.force_close()  # the connection's end is the answer's
        writer = await response.prepare(request)
        if writer is None:
            raise ConnectionResetError
        self._response, record.status = response, response.status
        client = self._client = ClientSide(request, writer, int(self.services.server.write_buffer), chunked=chunked)
        self.relay.commit(client)
        return client

    def _done(self) -> bytes:
        encoder = self.relay.encoder
        return b"" if encoder is None else encoder.done(self.summary(self.record.request_id), int(time.time() * 1000))

    def _error(self, error: GatewayError) -> bytes:
        relay = self.relay
        encoder = relay.encoder or self.dialect.encoder(Fold(), self.call)
        if encoder.forwards_errors and isinstance(error, UpstreamRefused) and error is relay.fold.error:
            return relay.fold.hide(relay.held)  # it has been forwarded already unless it was the first event
        return encoder.error(error, self.record.request_id, int(time.time() * 1000))

    async def _finish(self, frame: bytes) -> web.StreamResponse:
        response, client = self._response, self._client
        if response is None or client is None:
            raise ConnectionResetError
        self.relay.close()
        self.relay.sent += len(frame)
        last = client.kept + frame
        if client.has_room(len(last)):
            await response.write_eof(last)
        else:
            timeout = self.services.server.slow_client_timeout
            deadline = max(self.deadline, time.monotonic() + timeout)  # which may be what is told
            with Sending(self.request, timeout, deadline, self.record.fail) as self._sending:
                await response.write_eof(last)
            self._sending = None
        self._told = True
        return response
