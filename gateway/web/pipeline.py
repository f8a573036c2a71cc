"""The life of a request, top to bottom."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from gateway.core.call import Call, Restrictions
from gateway.core.errors import GatewayError
from gateway.web.answer_job import AnswerJob
from gateway.web.arriving import Arriving
from gateway.web.authenticate import authenticate, confirm
from gateway.web.body import Body
from gateway.web.dialects import Dialect
from gateway.web.job import Job
from gateway.web.record import RECORD, Record
from gateway.web.services import SERVICES, Services
from gateway.web.stream_job import StreamJob
from gateway.web.taking import book, give_back, look, take

# A body of 30 MB takes 30 ms to read, in which no other stream would get a token; this much takes 1 ms.
_LARGE = 1024 * 1024

Parse = Callable[[web.Request, bytes, Restrictions], Call]


async def handle(request: web.Request, dialect: Dialect, parse: Parse) -> web.StreamResponse:
    """Answer a request to Claude.

    Raises:
        GatewayError: It was refused, or failed before the client was given a status.
    """
    services, record = request.app[SERVICES], request[RECORD]
    record.dialect = dialect.name
    services.streams.enter()
    body = Body(services.bodies, int(services.server.max_body))
    try:
        body.admit(request)
        principal = await authenticate(request, record, services, anonymous=not dialect.verbatim)
        record.principal = principal
        entitlement = services.entitlements.of(principal)
        limits, restrictions = entitlement.limits, entitlement.restrictions
        try:
            with Arriving(services.streams, request):
                content = await body.read(request, services.server.body_timeout)
                call = await _parsed(request, content, parse, restrictions)
        except GatewayError:
            await look(services, record, limits)
            raise
        record.model, record.stream = call.model, call.stream
        if call.end_user is not None:
            record.principal = principal = replace(principal, end_user=services.pseudonym(call.end_user))
        held = await take(services, record, limits, call, unbounded=restrictions.unbounded)
        try:
            book(services, record, held)
            await confirm(request, record, principal, services)
            return await _answer(request, services, record, dialect, call)
        finally:
            await give_back(services, record, limits, sys.exception())
    finally:
        body.release()
        services.streams.leave()


async def _parsed(request: web.Request, content: bytes, parse: Parse, allowed: Restrictions) -> Call:
    if len(content) > _LARGE:
        return await asyncio.to_thread(parse, request, content, allowed)
    return parse(request, content, allowed)


async def _answer(
    request: web.Request, services: Services, record: Record, dialect: Dialect, call: Call
) -> web.StreamResponse:
    job: Job = (StreamJob if call.stream else AnswerJob)(request, record, services, dialect, call)
    services.streams.running.add(job)
    services.metrics.stream_opened()
    gone = False
    try:
        return await job.run()
    except (asyncio.CancelledError, ConnectionError):
        gone = True
        raise
    finally:
        job.close()
        record.asked = job.attempts.exchange is not None
        record.disconnected = gone and record.error is None  # a client that we dropped did not leave
        services.metrics.stream_closed()
        services.streams.running.discard(job)
