"""What a process that was killed had begun is in the ledger, and counts in the next one's budgets."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack

import aiohttp
import pytest

from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.ledger.books import Books
from gateway.ledger.tables import requests
from tests.support.process import make_key, serving
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import BLOCK, SSE_HEAD, START, scripted_upstream, text_delta

CHAT = "/api/chat/stream"
STREAMS = 100


async def _begun(peer) -> None:
    await peer.send(SSE_HEAD)
    await peer.chunk(START + BLOCK + text_delta("Hel"))
    await peer.closed()


@pytest.fixture
def books(tmp_path):
    """Return what opens the ledger, when a process has made it."""
    engines = []

    def opened():
        engines.append(open_database(f"sqlite:///{tmp_path}/data/tokenweir.db"))
        return engines[-1]

    yield opened
    for engine in engines:
        engine.dispose()


def rows_of(engine):
    with transaction(engine, "read") as connection:
        return connection.execute(requests.select()).mappings().all()


async def quota(gateway, key):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{gateway.url}/api/quota", headers={"x-api-key": key}) as response,
    ):
        return {limit["name"]: limit for limit in (await response.json())["limits"]}


async def test_a_process_that_is_killed_leaves_a_row_for_each_request_and_its_budgets_go_on(tmp_path, books):
    async with scripted_upstream(_begun) as claude:
        variables = {
            "ANTHROPIC_API_KEY": "sk-ant-mine",
            "ANTHROPIC_BASE_URL": claude.url,
            "TOKENWEIR_PLANS__DEFAULT__REQUESTS_PER_DAY": "1000",
            "TOKENWEIR_PLANS__DEFAULT__USD_PER_MONTH": "1000",
            "TOKENWEIR_PLANS__DEFAULT__CONCURRENT_STREAMS": str(STREAMS),
        }
        async with AsyncExitStack() as stack:
            gateway = await stack.enter_async_context(serving(tmp_path, "serve", **variables))
            key = make_key(tmp_path)
            asked = request_bytes("POST", CHAT, f"x-api-key: {key}", body=b'{"message":"hi"}')
            for _ in range(STREAMS):
                client = await stack.enter_async_context(connected(gateway.url, asked))
                await client.until(b"Hel")
            gateway.signal(signal.SIGKILL)
            async with asyncio.timeout(20):
                await claude.all_closed.wait()
        async with serving(tmp_path, "serve", **variables) as gateway:
            limits = await quota(gateway, key)
            assert (limits["tenant-requests-per-day"]["used"], limits["tenant-concurrent-streams"]["held"]) == (
                STREAMS,
                0,
            )
        engine = books()
        rows = rows_of(engine)
        assert len(rows) == STREAMS
        assert {(row["state"], row["estimated"]) for row in rows} == {(0, True)}
        cost = sum(row["cost_nano_usd"] for row in rows)
        assert limits["tenant-usd-per-month"]["used"] == pytest.approx(cost / 1e9)
        assert cost > 0
        soon = time.time() + 120
        assert len(Books(engine).claim(soon)) == STREAMS
        assert Books(engine).claim(soon) == []
        assert {row["error_code"] for row in rows_of(engine)} == {"worker_lost"}
