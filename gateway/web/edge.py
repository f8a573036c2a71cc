"""The edge: what every request meets first and last, whatever its route.

- It gets an id and a trace; at its end one Outcome goes to the metrics and to the log. Exactly once, on every path.
- Every error becomes an answer in the shape of the route's dialect. What we did not foresee is a 500 without details,
  and the operator's log has the rest.
- Every answer carries the request's id, CORS, the limits, and where it is the connection's last, its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping

from aiohttp import web

from gateway.core.errors import GatewayError, GatewayFault, MethodNotAllowed, NotFound, forget_way
from gateway.core.ratelimit_headers import quota_warning, ratelimit_headers
from gateway.core.trace import client_request_id, new_request_id, trace_of
from gateway.web.client_side import reset
from gateway.web.cors import EXPOSED, EXPOSED_TO_SDKS, cors_headers, is_preflight, preflight
from gateway.web.dialects import dialect_of
from gateway.web.protocol import Protocol
from gateway.web.record import RECORD, Record
from gateway.web.services import SERVICES, Services

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SERVED = (
    "POST /v1/messages, POST /v1/messages/count_tokens, GET /v1/models, GET /v1/models/{id}, "
    "GET and POST /api/chat/stream, GET /api/quota, GET /health"
)

_UNFORESEEN = "Something went wrong inside the gateway. Its operator can find it by the request id."


@web.middleware
async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its record, answer its errors, and tell its outcome."""
    services = request.app[SERVICES]
    record = request[RECORD] = _record(request, services)
    try:
        return await _guarded(request, handler, services, record)
    except asyncio.CancelledError:
        record.disconnected = record.error is None
        raise
    except ConnectionError:
        record.disconnected = record.error is None
        # The client is gone. Of any other exception aiohttp logs that it is a fault of ours, and composes a 500.
        raise asyncio.CancelledError from None
    finally:
        services.telling.tell(record)


async def _guarded(request: web.Request, handler: Handler, services: Services, record: Record) -> web.StreamResponse:
    try:
        response = await _answer(request, handler, services)
    except GatewayError as error:
        response = _refused(request, record, error)
    except web.HTTPException as error:
        response = _refused(request, record, _translated(error))
        forget_way(error)  # it is its own route's
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:  # noqa: BLE001 - the last net: nothing unforeseen may reach a client
        services.log_fault(error, record.request_id)
        response = _refused(request, record, GatewayFault(_UNFORESEEN))
    record.status = response.status
    return response


async def _answer(request: web.Request, handler: Handler, services: Services) -> web.StreamResponse:
    if is_preflight(request):
        return preflight(request, services.origins, _methods(request))
    return await handler(request)


def _refused(request: web.Request, record: Record, error: GatewayError) -> web.Response:
    """Return the answer for an error.

    Raises:
        ConnectionResetError: The client has been given a status already: all that is left is a reset, because an end
            in order would pass for the end of the answer.
    """
    record.fail(error)
    if request.writer.output_size:
        reset(request.transport)
        raise ConnectionResetError
    return dialect_of(request.path).error_response(error, record.request_id)


async def decorate(request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer carries; runs before the headers go out."""
    record = request.get(RECORD)
    if record is None:
        return
    services = request.app[SERVICES]
    headers = response.headers
    headers["X-Request-Id"] = record.request_id
    headers.setdefault("request-id", record.request_id)
    headers["Server"] = "tokenweir"
    headers["Vary"] = f"{headers['Vary']}, Origin" if "Vary" in headers else "Origin"
    exposed = EXPOSED_TO_SDKS if dialect_of(request.path).verbatim else EXPOSED
    headers.update(cors_headers(request.headers.get("Origin"), services.origins, exposed))
    _tell_limits(record, services, headers)
    if services.streams.draining or (isinstance(request.protocol, Protocol) and request.protocol.last):
        headers["Connection"] = "close"
        response.force_close()


def _tell_limits(record: Record, services: Services, headers: MutableMapping[str, str]) -> None:
    """Say where the limits stand: of an answer that is whole what it cost, and what it leaves."""
    whole = record.held is not None and record.asked and not record.stream and record.error is None
    states = record.standing(services.prices) if whole else record.states
    if states:
        headers.update(ratelimit_headers(states))
        headers.update(quota_warning(states, services.nearly_full.share))
    if whole and (cost := record.bill(services.prices)[1]) is not None:
        headers["X-Tokenweir-Cost-Usd"] = f"{cost:.9f}"


def _record(request: web.Request, services: Services) -> Record:
    headers = request.headers
    traces = services.traces
    sampled = None if traces is None else traces.sampled()
    trace = trace_of(headers.get("traceparent"), headers.get("tracestate"), sampled=sampled)
    peer = request.transport.get_extra_info("peername") if request.transport else None
    resource = request.match_info.route.resource
    return Record(
        request_id=new_request_id(),
        method=request.method,
        address=services.proxies.client_address(peer[0] if peer else "", headers.getall("X-Forwarded-For", ())),
        route=resource.canonical if resource else "other",
        client_request_id=client_request_id(headers.get("X-Request-Id")),
        trace=trace,
        steps=[] if sampled is not None and trace.sampled else None,
    )


def _methods(request: web.Request) -> str:
    """Return the methods of the route that a preflight asks for: the router names them with its 405.

    Raises:
        NotFound: There is no such route.
    """
    exception = request.match_info.http_exception
    if isinstance(exception, web.HTTPMethodNotAllowed):
        return _allowed(exception)
    raise _translated(exception)


def _allowed(error: web.HTTPMethodNotAllowed) -> str:
    return ", ".join(sorted(error.allowed_methods))


def _translated(error: web.HTTPException | None) -> GatewayError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowed(error.method, tuple(error.allowed_methods))
    return NotFound(f"Not found. Served here: {SERVED}.")
