"""Where the parts meet: from a configuration to a gateway that serves, and to its orderly end.

``running`` is what ``tokenweir serve``, ``tokenweir demo`` and the tests use alike.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web

from gateway.config import Config
from gateway.core.addresses import TrustedProxies
from gateway.core.errors import AccessCut, Draining
from gateway.core.keys import Peppers
from gateway.core.origins import Origins
from gateway.core.pricing import PriceBook
from gateway.core.principal import Principal
from gateway.core.quota.holds import FIRST_LEASE, HoldStore
from gateway.identity.database import open_database
from gateway.identity.directory import Directory
from gateway.identity.pepper import load_peppers
from gateway.identity.records import Cut
from gateway.identity.store import Store
from gateway.identity.throttle import FailureThrottle
from gateway.log import Log
from gateway.metrics import Metrics, sample_loop_lag
from gateway.quota.memory import MemoryHoldStore
from gateway.tasks import TaskOwner
from gateway.upstream.client import Upstream
from gateway.upstream.routing import Upstreams
from gateway.web.accept import LOOK_EVERY, Capacity, Looking, OpenFiles, capacity, open_files
from gateway.web.body import BodyBudget
from gateway.web.docs import add_docs
from gateway.web.edge import decorate, edge
from gateway.web.entitlements import Entitlements
from gateway.web.ops import create_ops
from gateway.web.pages import add_demo
from gateway.web.routes import add_routes
from gateway.web.server import BoundSocket, Runner
from gateway.web.services import SERVICES, Services
from gateway.web.settings import ServerSettings
from gateway.web.shedding import Shedder
from gateway.web.streams import Streams

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that serves.

    Attributes:
        url: Where everyone reaches it.
        ops_url: Where operators do.
        services: Its parts.
        store: Tenants and keys.
        peppers: What new keys are hashed with.
    """

    url: str
    ops_url: str
    services: Services
    store: Store
    peppers: Peppers
    _public: Runner

    async def drain(self, delay: float, grace: float) -> None:
        """Stop in order: unready, then closed to new connections, then without requests in flight."""
        streams = self.services.streams
        streams.draining = True
        log.info("draining", in_flight=len(streams), delay=delay, grace=grace)
        await asyncio.sleep(delay)
        await self._public.stop_listening()
        if not await streams.wait_empty(grace):
            log.warning("cut at the end of the grace period", streams=streams.cut(_restarting()))
            await streams.wait_empty(self.services.server.drain_last_words)


@asynccontextmanager
async def running(config: Config, log_to: Log) -> AsyncIterator[Gateway]:
    """Serve for as long as the context lasts.

    Raises:
        ListenError: An address is taken.
        IdentityError: The database or the pepper cannot be used.
    """
    async with AsyncExitStack() as stack:
        # Bound first, because a taken port is the commonest mistake; connections are refused until the last step.
        public_socket, ops_socket = _bound(config.server, stack)
        store, peppers = _store(config, stack)
        tasks = TaskOwner(lambda error: log.error("background task failed", exc_info=error))
        stack.push_async_callback(tasks.close)
        room = capacity(config.server, open_files())
        services = _services(config, log_to, store, peppers, tasks, room)
        stack.callback(_close, services)
        if not await services.directory.synchronise():
            log.warning("keys and tenants cannot be read yet", reason=services.directory.ping())
        stack.callback(Looking(LOOK_EVERY, OpenFiles(services.metrics.files_exhausted).look).stop)
        public, ops = _runners(services, room)
        for runner, sock in ((ops, ops_socket), (public, public_socket)):
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await sock.serve(runner)
        stack.callback(lambda: services.streams.cut(_restarting()))
        yield Gateway(_url(public), _url(ops), services, store, peppers, public)


def _restarting() -> Draining:
    return Draining("The gateway is restarting. Please try again.", retry_after=1.0)


def _bound(server: ServerSettings, stack: AsyncExitStack) -> tuple[BoundSocket, BoundSocket]:
    public = stack.enter_context(BoundSocket(server.listen, "--listen", server))
    return public, stack.enter_context(BoundSocket(server.ops_listen, "--ops-listen", server))


def _store(config: Config, stack: AsyncExitStack) -> tuple[Store, Peppers]:
    engine = open_database(config.database_url, busy_timeout=config.keys.busy_timeout)
    stack.callback(engine.dispose)
    store = Store(engine, actor="gateway")
    override = config.key_pepper
    peppers = load_peppers(config.data_dir, None if override is None else override.get_secret_value())
    for problem in store.pepper_problems(peppers):
        log.warning(problem)
    for mapping in config.anonymous:
        store.ensure_tenant(mapping.tenant, mapping.plan)
    return store, peppers


def _close(services: Services) -> None:
    for upstream in services.upstreams:
        upstream.pool.close()
    services.metrics.close()


def _services(
    config: Config, log_to: Log, store: Store, peppers: Peppers, tasks: TaskOwner, room: Capacity
) -> Services:
    streams = Streams(room.streams)
    prices = PriceBook(config.prices)
    metrics = Metrics(config.metrics, known_model=prices.known, dropped_log_lines=lambda: log_to.dropped)
    metrics.flow.held_bytes(streams.held_bytes)
    directory = Directory(
        store,
        peppers,
        config.keys,
        anonymous={mapping.tenant for mapping in config.anonymous},
        on_cut=lambda cut: _cut(streams, cut),
    )
    limits = config.limits
    holds = MemoryHoldStore(
        tombstone_ttl=limits.tombstone_ttl, max_tombstones=limits.max_tombstones, max_windows=limits.max_windows
    )
    tasks.spawn(directory.run())
    shedder = Shedder(streams, config.server.max_loop_lag, config.metrics.lag_interval)
    tasks.spawn(sample_loop_lag(metrics.loop_lag, config.metrics.lag_interval, shedder.woke))
    tasks.spawn(renew(holds, streams))
    return Services(
        server=config.server,
        chat=config.chat,
        transport=config.upstream,
        upstreams=Upstreams(
            [Upstream(settings, config.upstream, tasks.spawn) for settings in config.upstreams],
            config.upstream,
            metrics.upstreams,
        ),
        directory=directory,
        throttle=FailureThrottle(config.keys),
        entitlements=Entitlements(config.plans, config.anonymous_default),
        origins=Origins(config.server.cors_origins, config.anonymous),
        proxies=TrustedProxies(config.server.trusted_proxies),
        holds=holds,
        prices=prices,
        metrics=metrics,
        log_outcome=log_to.log_outcome,
        log_fault=lambda error, request_id: log.error("request failed", request_id=request_id, exc_info=error),
        pseudonym=_pseudonym(peppers),
        streams=streams,
        bodies=BodyBudget(int(config.server.max_bodies)),
        pings={"keys": directory.ping},
    )


def _runners(services: Services, room: Capacity) -> tuple[Runner, Runner]:
    app = web.Application(middlewares=[edge])
    app[SERVICES] = services
    app.on_response_prepare.append(decorate)
    add_routes(app)
    add_demo(app)
    add_docs(app, services.server)
    return Runner(app, services.server, services, room.connections), Runner(create_ops(app), services.server)


async def renew(
    holds: HoldStore,
    streams: Streams,
    *,
    every: float = FIRST_LEASE / 2,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Prolong the holds of what is in flight until cancelled: the first lease is shorter than most streams."""
    while True:
        await asyncio.sleep(every)
        if streams.holds:
            await holds.renew(tuple(streams.holds), clock())


def _cut(streams: Streams, cut: Cut) -> None:
    def whose(principal: Principal) -> bool:
        return (principal.tenant if cut.kind == "tenant" else principal.key_id) == cut.name

    stopped = streams.cut(AccessCut("Access was ended by the operator of this gateway."), whose)
    log.info("running streams cut", kind=cut.kind, name=cut.name, streams=stopped)


def _pseudonym(peppers: Peppers) -> Callable[[str], str]:
    # The oldest, not the current one: a user stays the same user when a pepper is added.
    key = peppers.secrets[min(peppers.secrets)]

    def pseudonym(user: str) -> str:
        return hmac.digest(key, b"end user:" + user.encode("utf-8", "replace"), "sha256").hex()[:32]

    return pseudonym


def _url(runner: Runner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
