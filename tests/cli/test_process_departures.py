"""Clients that leave at any moment: nothing stays held, and the ledger has what Claude was asked and what it generated."""

from __future__ import annotations

import asyncio
import json
import random

import aiohttp

from gateway.core.quota.calendar import Calendar
from gateway.database.opening import open_database
from gateway.ledger.books import Books
from gateway.ledger.spending import spending
from tests.support.process import command, make_key, serving
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import BLOCK, SSE_HEAD, event, scripted_upstream, text_delta

CLIENTS = 400
AT_ONCE = 40
INPUT = 1200  # tokens, as Claude counts them
WORD = "hello "  # one token
WORDS = 20
# Seconds at most, each by chance: between two words, and until a client leaves. What Claude has sent and the gateway
# has not read when a client leaves nobody counts: where that is many words, the machine is measured and not the gateway.
THINKS = 0.02
PATIENCE = 0.4
CHAT, MESSAGES = "/api/chat/stream", "/v1/messages"
CONFIG = """
[plans.default]
usd_per_month = 100000
output_tokens_per_day = 100_000_000
concurrent_streams = 1000
"""


class Claude:
    """Generates words as long as somebody is there, and keeps books.

    Attributes:
        asked: Requests whose answer it began.
        generated: Tokens that it generated, of all of them.
    """

    def __init__(self, chance) -> None:
        self.asked = self.generated = 0
        self._chance = chance

    async def __call__(self, peer) -> None:
        self.asked += 1
        usage = f'"usage":{{"input_tokens":{INPUT},"output_tokens":1}}'
        message = (
            f',"message":{{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],{usage}}}'
        )
        await self._think()
        await peer.send(SSE_HEAD)
        await peer.chunk(event("message_start", message) + BLOCK)
        for _ in range(WORDS):
            await self._think()
            await peer.chunk(text_delta(WORD))
            self.generated += 1
        await peer.chunk(
            event("content_block_stop", ',"index":0')
            + event("message_delta", f',"delta":{{"stop_reason":"end_turn"}},"usage":{{"output_tokens":{WORDS}}}')
            + event("message_stop")
        )
        await peer.end()

    async def _think(self) -> None:
        await asyncio.sleep(self._chance.random() * THINKS)


async def leave(url, asked, chance) -> None:
    """Ask, read a while, and leave: in order, by a reset, or not at all."""
    async with connected(url, asked) as client:
        patience, way = chance.random() * PATIENCE, chance.choice(("reset", "close", "half-close", "stay"))
        try:
            async with asyncio.timeout(None if way == "stay" else patience):
                await client.reader.read()
        except TimeoutError:
            if way == "reset":
                client.reset()
            elif way == "half-close":
                client.half_close()
                await client.reader.read()


async def test_what_clients_leave_behind_is_in_the_ledger_and_held_by_nobody(tmp_path):
    chance = random.Random(4)
    claude = Claude(chance)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "gateway.toml").write_text(CONFIG)
    async with (
        scripted_upstream(claude) as upstream,
        serving(tmp_path, "serve", ANTHROPIC_API_KEY="sk-ant", ANTHROPIC_BASE_URL=upstream.url) as gateway,
    ):
        key = make_key(tmp_path)
        bodies = {
            CHAT: json.dumps({"message": "x" * 4000, "model": "claude-x", "maxTokens": 100}).encode(),
            MESSAGES: json.dumps(
                {
                    "model": "claude-x", "max_tokens": 100, "stream": True,
                    "messages": [{"role": "user", "content": "x" * 4000}],
                }
            ).encode(),
        }  # fmt: skip
        room = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with room:
                path = chance.choice((CHAT, MESSAGES))
                asked = request_bytes("POST", path, f"x-api-key: {key}", "connection: close", body=bodies[path])
                await leave(gateway.url, asked, chance)

        await asyncio.gather(*[one() for _ in range(CLIENTS)])
        async with aiohttp.ClientSession(headers={"x-api-key": key}) as session:

            async def held() -> dict[str, float]:
                async with session.get(f"{gateway.url}/api/quota") as response:
                    return {limit["name"]: limit["held"] for limit in (await response.json())["limits"]}

            async with asyncio.timeout(30):
                while any((await held()).values()):
                    pass
        reconciled = await command(tmp_path, "usage", "reconcile", "--ops-listen", gateway.ops_url[7:])
        assert reconciled.out == "the limits have counted what the ledger says\n"
    engine = open_database(f"sqlite:///{tmp_path}/data/tokenweir.db")
    try:
        (found,) = spending(Books(engine), Calendar()).spent
    finally:
        engine.dispose()
    # Whoever left before Claude was asked is in the ledger as well: with its estimated input, as Claude may have had it.
    assert claude.asked <= found.requests <= CLIENTS
    assert found.input_tokens >= INPUT * claude.asked
    assert 0.95 * claude.generated <= found.output_tokens <= 2.5 * claude.generated + claude.asked
