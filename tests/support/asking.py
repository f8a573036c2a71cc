"""Clients that ask without a pause while something is done to the gateway, and note each answer that was not good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp

PATIENCE = 60.0
BODY = {"message": "Hello", "metadata": {"userId": "ada"}}


@dataclass
class Asking:
    """What came of it.

    Attributes:
        good: Whole answers.
        bad: What the others were.
    """

    good: int = 0
    bad: list[str] = field(default_factory=list)
    _answered: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, problem: str | None) -> None:
        if problem is None:
            self.good += 1
        else:
            self.bad.append(problem)
        self._answered.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something holds, looking after each answer."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                self._answered.clear()
                await self._answered.wait()

    async def more(self, number: int = 5) -> None:
        """Wait for so many more answers."""
        wanted = self.good + len(self.bad) + number
        await self.until(lambda: self.good + len(self.bad) >= wanted)


async def ask(url: str, key: str) -> str | None:
    """Ask once on a connection of its own; return what was wrong."""
    connector = aiohttp.TCPConnector(force_close=True)
    try:
        async with (
            aiohttp.ClientSession(url, connector=connector, headers={"x-api-key": key}) as http,
            http.post("/api/chat/stream", json=BODY) as response,
        ):
            text = await response.text()
            return None if response.status == 200 and '"type":"done"' in text else f"{response.status} {text[-200:]}"
    except (aiohttp.ClientError, OSError) as error:
        return repr(error)


@asynccontextmanager
async def asking(url: str, key: str, clients: int = 3) -> AsyncIterator[Asking]:
    """Ask until the end of the context."""
    noted, over = Asking(), False

    async def client() -> None:
        while not over:
            noted.tell(await ask(url, key))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client()) for _ in range(clients)]
        await noted.more(1)
        try:
            yield noted
        finally:
            over = True
            with suppress(TimeoutError):
                await asyncio.wait(tasks, timeout=PATIENCE)
