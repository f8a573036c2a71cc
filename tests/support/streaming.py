"""A gateway's process between a Claude that takes its time and clients that read as it comes."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp

from tests.support.process import make_key, serving
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import BLOCK, END, SSE_HEAD, START, scripted_upstream, text_delta

# What a test did is counted when it looks.
KEY = {"ANTHROPIC_API_KEY": "sk-ant-mine", "TOKENWEIR_LOG__GATHER": "0"}
AT_ONCE = {**KEY, "TOKENWEIR_SERVER__DRAIN_DELAY": "0"}


class Slow:
    """A Claude that begins its answer, and ends it when told to."""

    def __init__(self) -> None:
        self.finish = asyncio.Event()
        self.models: list[str] = []

    async def __call__(self, peer) -> None:
        self.models.append(json.loads(peer.request.body)["model"])
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await self.finish.wait()
        await peer.chunk(text_delta("lo") + END)
        await peer.end()


@asynccontextmanager
async def streaming_gateway(directory, *arguments, **variables):
    """A gateway process, a Claude that takes its time, and a key."""
    slow = Slow()
    async with (
        scripted_upstream(slow) as claude,
        serving(directory, "serve", *arguments, **{**KEY, **variables}, ANTHROPIC_BASE_URL=claude.url) as gateway,
        aiohttp.ClientSession() as http,
    ):
        try:
            yield gateway, http, {"x-api-key": make_key(directory)}, slow
        finally:
            slow.finish.set()


async def health(url: str, *, keep: bool = False) -> int:
    """Ask on a connection of its own, twice if it is kept; return the status."""
    async with connected(url) as wire:
        for _ in range(2 if keep else 1):
            await wire.send(request_bytes("GET", "/health"))
            status, headers, _ = await wire.answer()
            if status != 200 or headers.get("Connection") == "close":
                break
    return status


def chat(gateway, http, headers):
    return http.post(f"{gateway.url}/api/chat/stream", json={"message": "hi"}, headers=headers)


def claudes_own(gateway, http, headers):
    body = {"model": "claude-x", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    return http.post(f"{gateway.url}/v1/messages", json=body, headers=headers)


async def begin(response) -> bytes:
    """Read until the first token."""
    read = b""
    async with asyncio.timeout(15):
        while b"Hel" not in read:
            read += await response.content.readany()
    return read


async def rest(response) -> bytes:
    async with asyncio.timeout(15):
        return await response.content.read()
