"""One answer that is no stream: read whole, then sent whole.

- Until all of it was read and understood nothing has reached the client: what is cut off, or makes no sense, is asked
  for again as long as the policy of retries allows it, and counts against its upstream.
- What is larger than the write buffer keeps its slot until the kernel has all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from gateway.core.answer import message_of, returned_headers
from gateway.core.claude import Fold
from gateway.core.dialects.chat import answer_body
from gateway.core.errors import UpstreamError, UpstreamMalformed
from gateway.upstream.interface import Exchange
from gateway.web.job import Job
from gateway.web.sending import Sending

_MESSAGES = "/v1/messages"
_JSON = "application/json"


class AnswerJob(Job):
    """An answer that is sent whole."""

    async def run(self) -> web.StreamResponse:
        """Return the response.

        Raises:
            GatewayError: There is no good answer.
        """
        exchange, body, message = await self._read()
        await self.booked()
        headers = {**returned_headers(exchange.headers), "Cache-Control": "no-store"}
        if self.call.target.partition("?")[0] == _MESSAGES:
            self.record.fold = Fold(entered=self.call.entered_tokens)
            self.record.fold.take_message(message)
        if not self.dialect.verbatim:
            body = orjson.dumps(answer_body(message, self.summary(self.record.request_id)))
        self.record.client_bytes = len(body)
        if len(body) <= self.services.server.write_buffer:
            return web.Response(body=body, content_type=_JSON, headers=headers)
        del exchange, message  # while the client takes its time the answer is in memory once
        return await self._send(body, headers)

    @property
    def held_bytes(self) -> int:
        """Bytes of the answer that the client has not taken."""
        return 0 if self._sending is None else self._sending.held_bytes

    async def _read(self) -> tuple[Exchange, bytes, dict[str, Any]]:
        """Return an answer, its body, and what it says."""
        while True:
            exchange = await self.answered()
            try:
                _check_json(exchange.headers)
                body = await self.collect(exchange, self.services.transport.max_answer)
                return exchange, body, message_of(body)
            except UpstreamError as error:
                if not await self.attempts.again(error):
                    raise

    async def _send(self, body: bytes, headers: dict[str, str]) -> web.StreamResponse:
        """Return when the kernel has all of it."""
        server = self.services.server
        response = web.StreamResponse(headers={**headers, "Content-Type": _JSON})
        response.content_length = len(body)
        with Sending(self.request, server.slow_client_timeout, self.deadline, self.record.fail) as self._sending:
            await response.prepare(self.request)
            self.record.status = response.status
            await response.write_eof(body)
        self._sending = None
        return response


def _check_json(headers: Mapping[str, str]) -> None:
    """Raise UpstreamMalformed if the answer says that it is something else than JSON."""
    kind = headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind != _JSON and not kind.endswith("+json"):
        raise UpstreamMalformed("Claude's answer is not JSON.", detail=f"content-type {kind[:80]!r}")
