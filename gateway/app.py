"""Where the parts meet: from a configuration to a gateway that serves, and to its orderly end.

``running`` is what ``tokenweir serve``, ``tokenweir demo`` and the tests use alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import NamedTuple

import structlog
from aiohttp import web

from gateway.config import Config
from gateway.core.addresses import TrustedProxies
from gateway.core.errors import AccessCut
from gateway.core.keys import Peppers
from gateway.core.origins import Origins
from gateway.core.pricing import PriceBook
from gateway.core.principal import Principal
from gateway.core.quota.calendar import Calendar
from gateway.core.quota.holds import FIRST_LEASE, HoldStore
from gateway.core.units import zone_of
from gateway.database.opening import open_database
from gateway.generation import Gateway, Generation
from gateway.identity.directory import Directory
from gateway.identity.pepper import load_peppers
from gateway.identity.pseudonym import Pseudonyms
from gateway.identity.records import Cut
from gateway.identity.store import Store
from gateway.identity.throttle import FailureThrottle
from gateway.kept import Kept, open_kept
from gateway.log import Log
from gateway.metrics import sample_loop_lag
from gateway.relay import RelayLimits
from gateway.tasks import TaskOwner
from gateway.traces import Traces
from gateway.traces.opening import open_traces
from gateway.upstream.kinds import open_upstream
from gateway.upstream.routing import Upstreams
from gateway.web.accept import LOOK_EVERY, Capacity, Looking, OpenFiles, capacity, open_files
from gateway.web.accounts import Accounts
from gateway.web.body import BodyBudget
from gateway.web.docs import add_docs
from gateway.web.edge import decorate, edge
from gateway.web.entitlements import Entitlements
from gateway.web.nearly_full import NearlyFull
from gateway.web.ops import create_ops
from gateway.web.pages import add_demo
from gateway.web.routes import add_routes
from gateway.web.server import BoundSocket, ListenError, Runner
from gateway.web.services import SERVICES, Services
from gateway.web.settings import ServerSettings
from gateway.web.shedding import Shedder
from gateway.web.streams import Streams
from gateway.web.telling import Telling
from gateway.web.tls import BadCertificate, server_tls

# What thousands of streams used so far takes a while to add up: others run in between.
_RENEWED_AT_ONCE = 100
# Of the times that leases are renewed: how often the ledger notes what was used by then.
_NOTED_EVERY = 3

log = structlog.get_logger()


@asynccontextmanager
async def running(config: Config, log_to: Log) -> AsyncIterator[Gateway]:
    """Serve for as long as the context lasts.

    Raises:
        ListenError: An address is taken.
        StoreError: The database or the pepper cannot be used.
    """
    async with AsyncExitStack() as stack:
        # Bound first, because a taken port is the commonest mistake; connections are refused until the last step.
        public, ops = _bound(config.server, stack)
        kept = await open_kept(config, stack)
        gateway = Gateway(partial(assembled, kept=kept), public, ops)
        server = Runner(create_ops(gateway.shown), config.server)
        stack.push_async_callback(server.cleanup)
        await gateway.begin(config, log_to)
        stack.push_async_callback(gateway.close)
        await server.setup()
        await ops.serve(server)
        await gateway.open()
        yield gateway


@asynccontextmanager
async def assembled(config: Config, log_to: Log, kept: Kept | None = None) -> AsyncIterator[Generation]:
    """Make a gateway without an address of its own, for as long as the context lasts.

    Args:
        config: Its configuration.
        log_to: Where requests are logged.
        kept: What an earlier configuration leaves to this one.

    Raises:
        StoreError: The database or the pepper cannot be used.
    """
    async with AsyncExitStack() as stack:
        kept = kept or await open_kept(config, stack)
        kept.logs.append(log_to)
        store, peppers = open_store(config, stack)
        tasks = TaskOwner(lambda error: log.error("background task failed", exc_info=error))
        stack.push_async_callback(tasks.close)
        room = capacity(config.server, open_files())
        traces = open_traces(config.traces)
        if traces is not None:
            stack.push_async_callback(asyncio.to_thread, traces.close)
        services = _services(config, log_to, _Opened(store, peppers, traces), tasks, room, kept)
        stack.callback(_close, services)
        if not await services.directory.synchronise():
            log.warning("keys and tenants cannot be read yet", reason=services.directory.ping())
        stack.callback(Looking(LOOK_EVERY, OpenFiles(services.metrics.files_exhausted).look).stop)
        generation = Generation(
            services,
            store,
            peppers,
            _public(services, room, pretend=any(upstream.pretend for upstream in config.upstreams)),
        )
        stack.push_async_callback(generation.public.cleanup)
        await generation.public.setup()
        stack.callback(generation.cut)
        yield generation


def _bound(server: ServerSettings, stack: AsyncExitStack) -> tuple[BoundSocket, BoundSocket]:
    public = stack.enter_context(BoundSocket(server.listen, "--listen", server))
    return public, stack.enter_context(BoundSocket(server.ops_listen, "--ops-listen", server))


def open_store(config: Config, stack: AsyncExitStack | ExitStack) -> tuple[Store, Peppers]:
    """Open the tenants and keys, and make what is missing.

    Raises:
        StoreError: The database or the pepper cannot be used.
    """
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
    services.telling.flush()
    for upstream in services.upstreams:
        upstream.pool.close()


def _relay_limits(config: Config) -> RelayLimits:
    server, upstream = config.server, config.upstream
    return RelayLimits(
        server.heartbeat,
        upstream.idle_timeout,
        server.slow_client_timeout,
        upstream.max_event,
        upstream.stop_grace,
        upstream.max_stream,
        server.merge_after,
    )


class _Opened(NamedTuple):
    store: Store
    peppers: Peppers
    traces: Traces | None


def _services(config: Config, log_to: Log, opened: _Opened, tasks: TaskOwner, room: Capacity, kept: Kept) -> Services:
    store, peppers, traces = opened
    streams = Streams(room.streams)
    prices, workers = PriceBook(config.prices), config.server.workers
    metrics, holds = kept.metrics, kept.holds
    entitlements, pseudonyms = entitlements_of(config), Pseudonyms(peppers)
    calendar = Calendar(zone_of(config.limits.time_zone))
    metrics.flow.held_bytes(streams.held_bytes)
    directory = Directory(
        store,
        peppers,
        config.keys,
        anonymous={mapping.tenant for mapping in config.anonymous},
        on_cut=lambda cut: _cut(streams, cut),
    )
    tasks.spawn(directory.run())
    shedder = Shedder(streams, config.server.max_loop_lag, config.metrics.lag_interval)
    tasks.spawn(sample_loop_lag(metrics.loop_lag, config.metrics.lag_interval, shedder.woke))
    tasks.spawn(renew(holds, streams))
    return Services(
        server=config.server,
        chat=config.chat,
        transport=config.upstream,
        relay=_relay_limits(config),
        upstreams=Upstreams(
            [
                open_upstream(settings, config.upstream, tasks.spawn, metrics.pools.of(settings.name))
                for settings in config.upstreams
            ],
            config.upstream,
            metrics.upstreams,
        ),
        directory=directory,
        throttle=FailureThrottle(config.keys, workers),
        entitlements=entitlements,
        accounts=Accounts(store, kept.ledger.books, entitlements, holds, calendar, pseudonyms),
        origins=Origins(config.server.cors_origins, config.anonymous),
        proxies=TrustedProxies(config.server.trusted_proxies),
        holds=holds,
        rate_hold=config.limits.rate_hold,
        nearly_full=NearlyFull(config.limits.warn_at, metrics.quota.warned),
        calendar=calendar,
        ledger=kept.ledger.writer,
        ledger_id=kept.ledger.worker_id,
        serve_unbooked=config.ledger.on_failure == "serve",
        prices=prices,
        metrics=metrics,
        telling=Telling(
            prices,
            metrics.observe,
            log_to.log_outcome,
            _log_fault,
            config.log.gather,
            log_to.together,
            kept.ledger.writer.complete,
            None if traces is None else traces.take,
        ),
        traces=traces,
        log_fault=_log_fault,
        pseudonym=pseudonyms,
        streams=streams,
        bodies=BodyBudget(int(config.server.max_bodies)),
        pings={"keys": directory.ping, "limits": holds.problem},
    )


def entitlements_of(config: Config) -> Entitlements:
    """Return what callers may use; processes that count apart have a share of each limit."""
    parts = config.server.workers if config.redis_url is None else 1
    return Entitlements(config.plans, config.anonymous_default, parts)


def _log_fault(error: BaseException, request_id: str) -> None:
    log.error("request failed", request_id=request_id, exc_info=error)


def _public(services: Services, room: Capacity, *, pretend: bool) -> Runner:
    app = web.Application(middlewares=[edge])
    app[SERVICES] = services
    app.on_response_prepare.append(decorate)
    add_routes(app)
    add_demo(app, pretend=pretend)
    add_docs(app, services.server)
    try:
        tls = server_tls(services.server)
    except BadCertificate as error:
        raise ListenError(str(error)) from None
    return Runner(app, services.server, services, room.connections, tls)


async def renew(
    holds: HoldStore,
    streams: Streams,
    *,
    every: float = FIRST_LEASE / 2,
) -> None:
    """Prolong the holds of what is in flight until cancelled: the first lease is shorter than most streams."""
    rounds = 0
    while True:
        await asyncio.sleep(every)
        rounds += 1
        pending = list(streams.holds.items())
        for start in range(0, len(pending), _RENEWED_AT_ONCE):
            some = [(name, held) for name, held in pending[start : start + _RENEWED_AT_ONCE] if name in streams.holds]
            if not rounds % _NOTED_EVERY:
                for _, held in some:
                    held.note()
            await holds.renew([held.checkpoint() for _, held in some])
            await asyncio.sleep(0)


def _cut(streams: Streams, cut: Cut) -> None:
    def whose(principal: Principal) -> bool:
        return (principal.tenant if cut.kind == "tenant" else principal.key_id) == cut.name

    stopped = streams.cut(AccessCut("Access was ended by the operator of this gateway."), whose)
    log.info("running streams cut", kind=cut.kind, name=cut.name, streams=stopped)
