"""The life of a request, top to bottom."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from gateway.core.call import Call, Restrictions
from gateway.core.errors import GatewayError, GatewayFault, RateLimited
from gateway.core.principal import Principal
from gateway.core.quota.holds import ONE_REQUEST, ONE_STREAM, Refused, Reservation
from gateway.core.quota.limits import LimitSet
from gateway.web.answer_job import AnswerJob
from gateway.web.arriving import Arriving
from gateway.web.authenticate import authenticate, confirm
from gateway.web.body import Body
from gateway.web.dialects import Dialect
from gateway.web.job import Job
from gateway.web.record import RECORD, Record
from gateway.web.services import SERVICES, Services
from gateway.web.stream_job import StreamJob

# A body of 30 MB takes 30 ms to read, in which no other stream would get a token; this much takes 1 ms.
_LARGE = 1024 * 1024
_OURS = 500

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
        try:
            with Arriving(services.streams, request):
                content = await body.read(request, services.server.body_timeout)
                call = await _parsed(request, content, parse, entitlement.restrictions)
        except GatewayError:
            await _look(services, record, principal, entitlement.limits, record.request_id)
            raise
        record.model, record.stream = call.model, call.stream
        if call.end_user is not None:
            record.principal = principal = replace(principal, end_user=services.pseudonym(call.end_user))
        await _reserve(services, record, principal, entitlement.limits, call)
        try:
            await confirm(request, record, principal, services)
            return await _answer(request, services, record, dialect, call)
        finally:
            services.streams.holds.discard(record.request_id)
            if _unserved(record):
                await services.holds.cancel(record.request_id, time.monotonic())
                await _look(services, record, principal, entitlement.limits, f"{record.request_id}-again")
            else:
                await services.holds.settle(record.request_id, time.monotonic())
    finally:
        body.release()
        services.streams.leave()


async def _parsed(request: web.Request, content: bytes, parse: Parse, allowed: Restrictions) -> Call:
    if len(content) > _LARGE:
        return await asyncio.to_thread(parse, request, content, allowed)
    return parse(request, content, allowed)


async def _reserve(services: Services, record: Record, principal: Principal, limits: LimitSet, call: Call) -> None:
    """Hold everything that the request may use, or refuse it."""
    amounts = ONE_STREAM if call.max_tokens is not None else ONE_REQUEST
    applied = limits.of_caller(principal.address, principal.end_user)
    held = await services.holds.reserve(Reservation(record.request_id, applied, amounts), time.monotonic())
    record.states = held.states
    if isinstance(held, Refused):
        raise RateLimited(
            f"The limit {held.limit} of your plan is reached.", limit=held.limit, retry_after=held.retry_after
        )
    services.streams.holds.add(record.request_id)


def _unserved(record: Record) -> bool:
    """Whether it ends through a fault of ours before Claude was asked: the caller's limits are as if it had not been.

    Call it while the exception that ended it is being handled, if one did.
    """
    error = record.error or sys.exception()
    if record.asked or error is None:
        return False
    if isinstance(error, GatewayError):
        return isinstance(error, GatewayFault) and error.status >= _OURS
    return isinstance(error, Exception) and not isinstance(error, ConnectionError)  # unforeseen


async def _look(services: Services, record: Record, principal: Principal, limits: LimitSet, look_id: str) -> None:
    """Note where the limits stand, for an answer to a request that takes nothing from them; each id is good once."""
    applied = limits.of_caller(principal.address, principal.end_user)
    held = await services.holds.reserve(Reservation(look_id, applied, {}), time.monotonic())
    record.states = held.states
    await services.holds.cancel(look_id, time.monotonic())


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
