"""One answer that is no stream: read whole, then sent whole."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.core.answer import message_of, returned_headers
from gateway.core.claude import Fold
from gateway.core.dialects.chat import answer_body
from gateway.core.errors import UpstreamError
from gateway.web.job import Job

_MESSAGES = "/v1/messages"


class AnswerJob(Job):
    """An answer that is sent whole."""

    async def run(self) -> web.StreamResponse:
        """Return the response.

        Raises:
            GatewayError: There is no good answer.
        """
        exchange = await self.answered()
        try:
            body = await self.collect(exchange, self.services.transport.max_answer)
        except UpstreamError as error:
            self.attempts.failed(error)
            raise
        headers = {**returned_headers(exchange.headers), "Cache-Control": "no-store"}
        generates = self.call.target.partition("?")[0] == _MESSAGES
        message = message_of(body) if generates else {}
        if generates:
            self.record.fold = Fold()
            self.record.fold.take_message(message)
        if not self.dialect.verbatim:
            body = orjson.dumps(answer_body(message, self.summary(self.record.request_id)))
        self.record.client_bytes = len(body)
        return web.Response(body=body, content_type="application/json", headers=headers)
