"""A whole gateway whose outcomes a test reads: what became of each request, exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

import aiohttp

from gateway.app import running
from gateway.config import Config
from gateway.core.outcome import Outcome
from tests.support.gateway import Caller

PATIENCE = 15.0


class Outcomes:
    """Takes the place of the log: keeps every outcome, with the address that came with it."""

    dropped = 0

    def __init__(self) -> None:
        self.all: list[Outcome] = []
        self.addresses: list[str | None] = []
        self._told = asyncio.Event()

    def log_outcome(self, outcome: Outcome, address: str | None = None) -> None:
        self.all.append(outcome)
        self.addresses.append(address)
        self._told.set()

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def reach(self, count: int) -> list[Outcome]:
        """Wait for so many outcomes and return all that there are."""
        async with asyncio.timeout(PATIENCE):
            while len(self.all) < count:
                self._told.clear()
                await self._told.wait()
        return self.all

    async def only(self) -> Outcome:
        """Return the outcome of a test's one request."""
        (outcome,) = await self.reach(1)
        return outcome


@asynccontextmanager
async def observed(config: Config, *, plan: str = "default") -> AsyncIterator[tuple[Caller, Outcomes]]:
    """Serve, with a tenant ``acme`` and a key of it."""
    outcomes = Outcomes()
    async with running(config, outcomes) as gateway, aiohttp.ClientSession() as session:  # type: ignore[arg-type]  # duck-typed log
        gateway.store.ensure_tenant("acme", plan)
        _, key = gateway.store.create_key("acme", gateway.peppers)
        yield Caller(gateway, session, key.text), outcomes


async def eventually(true: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait until something is so; each look lets everything else run."""
    async with asyncio.timeout(patience):
        while not true():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.002)  # a pause, or a thread would not get the interpreter to do what is waited for
