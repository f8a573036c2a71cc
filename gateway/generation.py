"""A configuration at work, and its exchange for another while the process goes on.

- A generation is everything that is made of one configuration. A reload makes another beside it, and when that is ready
  lets it take the connections: the listening socket is never closed, so no connection is lost.
- The old generation finishes what it has. Connections that it holds may bring one more request, which it answers.
- What must not begin anew outlives them: the counters of limits and of metrics.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

import structlog

from gateway.config import Config
from gateway.core.errors import Draining
from gateway.core.keys import Peppers
from gateway.identity.store import Store
from gateway.log import Log
from gateway.tasks import TaskOwner
from gateway.web.ops import Shown
from gateway.web.server import BoundSocket, Runner
from gateway.web.services import Services

# Connections that the old generation holds may bring one more request for at least so long: one that was opened a
# moment ago has a request on its way.
_LAST_REQUEST = 1.0

log = structlog.get_logger()


class ReloadRefused(Exception):
    """The new configuration cannot be served with; the message says why, and the old one stays."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A configuration's parts; it takes connections from where ``public`` is told to.

    Attributes:
        services: Its parts.
        store: Tenants and keys.
        peppers: What new keys are hashed with.
        public: Its server.
    """

    services: Services
    store: Store
    peppers: Peppers
    public: Runner

    def checks(self) -> dict[str, str]:
        """Return what its dependencies say of themselves: ``ok`` or what is wrong."""
        return {name: ping() or "ok" for name, ping in self.services.pings.items()}

    def unready(self) -> None:
        """Say with each answer that the connection ends."""
        if not self.services.streams.draining:
            self.services.streams.draining = True
            self.services.metrics.drain_begun()

    async def finish(self, delay: float, grace: float) -> None:
        """Take no more connections, and wait for the end of what is in flight.

        Args:
            delay: Seconds in which the connections that are there may bring one more request.
            grace: Seconds for the rest; what is left then is told that a retry helps.
        """
        self.unready()
        await self.public.stop_accepting()
        await asyncio.sleep(delay)
        self.public.close_idle()
        streams, last_words = self.services.streams, self.services.server.drain_last_words
        end = time.monotonic() + grace
        if not await streams.wait_empty(grace):
            log.warning("cut at the end of the grace period", streams=self.cut())
            await streams.wait_empty(last_words)
        await self.public.taken(max(last_words, end - time.monotonic()))

    def cut(self) -> int:
        """End what is in flight, and tell it that a retry helps; return how many there were."""
        return self.services.streams.cut(Draining("The gateway is restarting. Please try again.", retry_after=1.0))


Assemble = Callable[[Config, Log], AbstractAsyncContextManager[Generation]]


class Gateway:
    """A gateway that serves, with one configuration at a time.

    Args:
        assemble: Makes a generation of a configuration.
        public: Where everyone reaches it.
        ops: Where operators do.

    Attributes:
        shown: What operators are shown.
    """

    def __init__(self, assemble: Assemble, public: BoundSocket, ops: BoundSocket) -> None:
        self._assemble = assemble
        self._public = public
        self.address = public.address
        self.ops_address = ops.address
        self.shown = Shown()
        self._endings: set[asyncio.Task[None]] = set()
        self._tasks = TaskOwner(lambda error: log.error("the end of a configuration failed", exc_info=error))

    @property
    def url(self) -> str:
        """Where everyone reaches it."""
        return f"{self._config.server.scheme}://{self.address}"

    @property
    def ops_url(self) -> str:
        """Where operators do."""
        return f"http://{self.ops_address}"

    @property
    def services(self) -> Services:
        """The parts of the present configuration."""
        return self._generation.services

    @property
    def store(self) -> Store:
        """Tenants and keys."""
        return self._generation.store

    @property
    def peppers(self) -> Peppers:
        """What new keys are hashed with."""
        return self._generation.peppers

    async def begin(self, config: Config, log_to: Log) -> None:
        """Make the first generation; it takes connections with ``open``.

        Raises:
            StoreError: The database or the pepper cannot be used.
        """
        self._lifetime = AsyncExitStack()
        self._generation = await self._lifetime.enter_async_context(self._assemble(config, log_to))
        self._config = config
        self.shown.services = self._generation.services

    async def open(self) -> None:
        """Take connections.

        Raises:
            ListenError: Another process was quicker.
        """
        await self._public.serve(self._generation.public)

    async def reload(self, config: Config, log_to: Log) -> None:
        """Serve with another configuration from now on.

        Raises:
            ReloadRefused: It cannot be served with.
            StoreError: Its database or its pepper cannot be used.
            ListenError: Its connections cannot be taken.
        """
        _refuse_fixed(self._config, config)
        lifetime = AsyncExitStack()
        try:
            generation = await lifetime.enter_async_context(self._assemble(config, log_to))
            _refuse_unwell(generation.checks())
            _refuse_other_ledger(self._config, config)
            self._public.adapt(config.server)
            await self._public.serve(generation.public)
        except BaseException:
            await lifetime.aclose()
            raise
        old, ends = self._generation, self._lifetime
        before, self._config = self._config.server, config
        self._generation, self._lifetime = generation, lifetime
        self.shown.services = generation.services
        await old.public.stop_accepting()  # what comes from now on has the new configuration
        delay = max(before.drain_delay, _LAST_REQUEST)
        ending = self._tasks.spawn(_see_off(old, ends, delay, before.drain_grace))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def drain(self, delay: float) -> None:
        """Stop in order: unready, then closed to new connections, then without requests in flight."""
        grace = self._config.server.drain_grace
        self._generation.unready()
        log.info("draining", in_flight=len(self.services.streams), delay=delay, grace=grace)
        await asyncio.sleep(delay)
        self._public.close()
        await self._generation.finish(0.0, grace)
        if self._endings:
            await asyncio.wait(self._endings)

    async def close(self) -> None:
        """End everything now; what is in flight is told."""
        self._public.close()
        await self._tasks.close()
        await self._lifetime.aclose()


async def _see_off(generation: Generation, lifetime: AsyncExitStack, delay: float, grace: float) -> None:
    try:
        await generation.finish(delay, grace)
    finally:
        generation.services.metrics.drain_ended()
        await lifetime.aclose()


def _refuse_unwell(checks: dict[str, str]) -> None:
    wrong = [f"{name}: {result}" for name, result in checks.items() if result != "ok"]
    if wrong:
        raise ReloadRefused("; ".join(wrong))


_FIXED = (
    *(("server", key) for key in ("listen", "ops_listen", "workers")),
    *(("limits", key) for key in ("time_zone", "on_store_failure", "store_timeout", "replicas", "store_connections")),
)


def _refuse_fixed(before: Config, now: Config) -> None:
    for section, key in _FIXED:
        was, is_now = getattr(getattr(before, section), key), getattr(getattr(now, section), key)
        if was != is_now:
            raise ReloadRefused(f"{section}.{key} was {was} and is {is_now}: that takes a restart")


def _refuse_other_ledger(before: Config, now: Config) -> None:
    """Refuse another database or Redis, although it can be had: what runs is in the books of this one."""
    for key in ("database_url", "data_dir"):
        if getattr(before, key) != getattr(now, key):
            raise ReloadRefused(f"{key} was changed, and the ledger is there: that takes a restart")
    if before.redis_url != now.redis_url:
        raise ReloadRefused("redis_url was changed, and what requests hold is there: that takes a restart")
