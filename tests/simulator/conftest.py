"""A simulator per test, on a real socket; fast unless a test asks for its pace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import anthropic
import pytest

from gateway.simulator.server import RunningSimulator, serve_simulator
from gateway.simulator.settings import SimulatorSettings

HEADERS = {"x-api-key": "sk-test-0123456789", "anthropic-version": "2023-06-01"}
MODEL = "claude-sonnet-5-5"

Serve = Callable[..., Awaitable[RunningSimulator]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start simulators that stop with the test."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> RunningSimulator:
            fast = {"tokens_per_second": 0, "time_to_first_token": 0, "jitter": 0}
            return await stack.enter_async_context(await serve_simulator(SimulatorSettings(**(fast | options))))

        yield start


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that changes nothing in what it gets."""
    async with aiohttp.ClientSession(auto_decompress=False, headers=HEADERS) as session:
        yield session


@pytest.fixture
async def claude() -> AsyncIterator[Callable[..., anthropic.AsyncAnthropic]]:
    """Claude's own SDK, pointed at a simulator."""
    async with AsyncExitStack() as stack:

        async def closed(client: anthropic.AsyncAnthropic) -> None:
            await client.close()

        def connect(simulator: RunningSimulator, **options: Any) -> anthropic.AsyncAnthropic:
            given = {"api_key": "sk-test", "base_url": simulator.url, "max_retries": 0, "timeout": 10.0}
            client = anthropic.AsyncAnthropic(**(given | options))
            stack.push_async_callback(closed, client)
            return client

        yield connect


@pytest.fixture
def body() -> Callable[..., dict[str, Any]]:
    """A request body, with what a test changes."""

    def build(text: str = "Hello", **more: Any) -> dict[str, Any]:
        return {"model": MODEL, "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **more}

    return build
