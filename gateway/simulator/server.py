"""The pretend Claude as an aiohttp application, and how to serve it.

Everything but Claude's routes and ``/_sim/`` is a 404 in Claude's shape. ``handler_cancellation`` is on: a client that
leaves stops its stream at once, and is counted.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from gateway.simulator import models
from gateway.simulator.headers import claude_headers, cors_headers, preflight_headers, rate_limits
from gateway.simulator.messages import Simulator, check_credential
from gateway.simulator.observed import Stats
from gateway.simulator.refusals import Refused, error_body, html_page
from gateway.simulator.settings import SimulatorSettings

SIMULATOR = web.AppKey("simulator", Simulator)
_BROWSER_HEADER = "anthropic-dangerous-direct-browser-access"
_OWN = "/_sim/"
_SHUTDOWN = 0.5  # streams in flight are cut when it stops: nobody waits for a pretend answer
_TOO_MANY = 429


def create_simulator(settings: SimulatorSettings) -> web.Application:
    """Build the application; serve it with :func:`serve_simulator`, or where you like."""
    app = web.Application(middlewares=[_in_claudes_shape], client_max_size=settings.max_body)
    simulator = app[SIMULATOR] = Simulator(settings)
    app.router.add_post("/v1/messages", simulator.messages)
    app.router.add_post("/v1/messages/count_tokens", simulator.count_tokens)
    app.router.add_get("/v1/models", _models)
    app.router.add_get("/v1/models/{name}", _model)
    app.router.add_get("/_sim/stats", _stats)
    app.router.add_get("/_sim/last", _last)
    app.on_response_prepare.append(_allow_browsers)
    return app


@dataclass(slots=True)
class RunningSimulator:
    """A simulator that listens; ``async with`` closes it.

    Attributes:
        runner: The runner behind it.
        host: Address that it listens on.
        port: The port that it got.
    """

    runner: web.AppRunner
    host: str
    port: int

    @property
    def url(self) -> str:
        """Its base URL, without ``/v1``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def stats(self) -> Stats:
        """Its counts, live."""
        return self.runner.app[SIMULATOR].stats

    async def close(self) -> None:
        """Stop listening; streams in flight are cut."""
        await self.runner.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def serve_simulator(settings: SimulatorSettings, host: str = "127.0.0.1", port: int = 0) -> RunningSimulator:
    """Listen and answer; port 0 takes a free one.

    Raises:
        OSError: The address cannot be listened on.
    """
    runner = web.AppRunner(
        create_simulator(settings),
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=75.0,
        shutdown_timeout=_SHUTDOWN,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError:
        await runner.cleanup()
        raise
    return RunningSimulator(runner, host, runner.addresses[0][1])


@web.middleware
async def _in_claudes_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    simulator = request.app[SIMULATOR]
    if not request.path.startswith(_OWN):
        simulator.stats.saw(request.headers)
    try:
        _check_origin(request)
        if request.method == hdrs.METH_OPTIONS:
            wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
            return web.Response(status=204, headers=preflight_headers(wanted))
        return await handler(request)
    except Refused as refused:
        return _refusal(simulator, refused)
    except (asyncio.CancelledError, ConnectionError):
        simulator.stats.cancelled += 1
        # One that left between two writes is no error of the pretend Claude's either.
        raise asyncio.CancelledError from None
    except web.HTTPRequestEntityTooLarge:
        return _refusal(simulator, Refused(413))
    except web.HTTPMethodNotAllowed as exc:
        allow = {"allow": exc.headers[hdrs.ALLOW]}
        return _refusal(simulator, Refused(405, message="Method Not Allowed", headers=allow))
    except web.HTTPNotFound:
        return _refusal(simulator, Refused(404, message="Not Found"))


def _refusal(simulator: Simulator, refused: Refused) -> web.Response:
    simulator.stats.refused += 1
    request_id = simulator.ids.request()
    headers = {**claude_headers(request_id, simulator.ids.trace()), **refused.headers}
    if refused.status == _TOO_MANY:
        headers |= rate_limits(time.time(), exhausted=True)
    kind = headers.setdefault("content-type", "application/json")
    body = html_page(refused.status) if kind == "text/html" else error_body(refused.kind, refused.message, request_id)
    return web.Response(status=refused.status, body=body, headers=headers)


def _check_origin(request: web.Request) -> None:
    """Claude answers browsers only when their SDK says that this is meant."""
    if hdrs.ORIGIN in request.headers and request.method == hdrs.METH_POST and _BROWSER_HEADER not in request.headers:
        raise Refused(401, message=f"CORS requests must set '{_BROWSER_HEADER}' header")


async def _allow_browsers(request: web.Request, response: web.StreamResponse) -> None:
    if hdrs.ORIGIN in request.headers:
        for name, value in cors_headers().items():
            response.headers.setdefault(name, value)


async def _models(request: web.Request) -> web.Response:
    check_credential(request)
    return request.app[SIMULATOR].json(models.page(request.query))


async def _model(request: web.Request) -> web.Response:
    check_credential(request)
    return request.app[SIMULATOR].json(models.model(request.match_info["name"]))


async def _stats(request: web.Request) -> web.Response:
    return web.json_response(request.app[SIMULATOR].stats.view())


async def _last(request: web.Request) -> web.Response:
    last = request.app[SIMULATOR].last
    if last is None:
        raise Refused(404, message="there is no recorded request; start the simulator with --record and send one")
    return web.json_response(last)
