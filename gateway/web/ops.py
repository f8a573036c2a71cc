"""The operators' endpoints, on an address of their own."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.core.errors import GatewayError, MethodNotAllowed, NotFound, StoreUnavailable
from gateway.core.trace import new_request_id
from gateway.database.errors import Refused, StoreError
from gateway.web.dialects import CHAT
from gateway.web.docs import add_ops_document
from gateway.web.services import Services

_SERVED = "GET /livez, /readyz, /metrics, /quotas/{tenant}, /reconcile and /openapi.json"


class Shown:
    """Whose state is shown: another's after a reload.

    Attributes:
        services: The parts of the present configuration; set before the first request.
    """

    services: Services


SHOWN = web.AppKey("shown", Shown)


async def livez(_: web.Request) -> web.Response:
    """Say that the event loop turns: restart the process when this fails."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Say whether to send requests here: every dependency's ping, and no drain under way."""
    services = request.app[SHOWN].services
    checks = {name: ping() or "ok" for name, ping in services.pings.items()}
    if services.streams.draining:
        checks["drain"] = "draining"
    ready = all(result == "ok" for result in checks.values())
    body = {"status": "ok" if ready else "unavailable", "checks": checks, "in_flight": len(services.streams)}
    return web.json_response(body, status=200 if ready else 503, headers={"Cache-Control": "no-store"})


async def metrics(request: web.Request) -> web.Response:
    """Return what Prometheus scrapes; rendered beside the loop."""
    services = request.app[SHOWN].services
    services.telling.flush()
    body, content_type = await services.metrics.render(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def quotas(request: web.Request) -> web.Response:
    """Say where all limits of a tenant stand, as this process counts them; ``?user=`` for an end user's as well."""
    accounts = request.app[SHOWN].services.accounts
    return await _told(accounts.quotas(request.match_info["tenant"], request.query.get("user")))


async def reconcile(request: web.Request) -> web.Response:
    """Say what the limits have counted otherwise than the ledger; ``?tenant=`` for one tenant's."""
    return await _told(request.app[SHOWN].services.accounts.differences(request.query.get("tenant")))


async def _told(answer: Awaitable[dict[str, Any]]) -> web.Response:
    try:
        return web.json_response(await answer, headers={"Cache-Control": "no-store"})
    except Refused as error:
        raise NotFound(str(error)) from error
    except StoreError as error:
        raise StoreUnavailable(str(error), retry_after=1.0) from error


@web.middleware
async def _in_our_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what is not served as the public address does."""
    error: GatewayError
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as refused:
        error = MethodNotAllowed(refused.method, tuple(refused.allowed_methods))
    except web.HTTPNotFound:
        error = NotFound(f"Not found. Served here: {_SERVED}.")
    except GatewayError as told:
        error = told
    request_id = new_request_id()
    response = CHAT.error_response(error, request_id)
    response.headers["X-Request-Id"] = request_id
    return response


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    """Name the product, and no version of what it is made of."""
    response.headers["Server"] = "tokenweir"


def create_ops(shown: Shown) -> web.Application:
    """Return the operators' application, beside the public one."""
    app = web.Application(middlewares=[_in_our_shape])
    app[SHOWN] = shown
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/quotas/{tenant}", quotas)
    app.router.add_get("/reconcile", reconcile)
    app.on_response_prepare.append(_sign)
    add_ops_document(app)
    return app
