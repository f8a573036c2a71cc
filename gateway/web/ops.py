"""The operators' endpoints, on an address of their own."""

from __future__ import annotations

from aiohttp import web

from gateway.web.docs import add_ops_document
from gateway.web.services import SERVICES


async def livez(_: web.Request) -> web.Response:
    """Say that the event loop turns: restart the process when this fails."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Say whether to send requests here: every dependency's ping, and no drain under way."""
    services = request.app[SERVICES]
    checks = {name: ping() or "ok" for name, ping in services.pings.items()}
    if services.streams.draining:
        checks["drain"] = "draining"
    ready = all(result == "ok" for result in checks.values())
    body = {"status": "ok" if ready else "unavailable", "checks": checks, "in_flight": len(services.streams)}
    return web.json_response(body, status=200 if ready else 503, headers={"Cache-Control": "no-store"})


async def metrics(request: web.Request) -> web.Response:
    """Return what Prometheus scrapes; rendered beside the loop."""
    body, content_type = await request.app[SERVICES].metrics.render(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    """Name the product, and no version of what it is made of."""
    response.headers["Server"] = "tokenweir"


def create_ops(services_of: web.Application) -> web.Application:
    """Return the operators' application, beside the public one."""
    app = web.Application()
    app[SERVICES] = services_of[SERVICES]
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.on_response_prepare.append(_sign)
    add_ops_document(app)
    return app
