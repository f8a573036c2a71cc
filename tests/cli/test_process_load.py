"""A process that is stopped, or killed, while many streams run: nobody takes a part for the whole, nothing stays open."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from tests.support.frames import frames
from tests.support.observed import eventually
from tests.support.process import make_key, serving
from tests.support.raw_client import connected, dechunked, request_bytes
from tests.support.scripted_upstream import BLOCK, END, SSE_HEAD, START, answer, scripted_upstream, stream, text_delta
from tests.support.slow_client import narrow, to_the_end

STREAMS = 200
STALLED = 20  # among them: they ask for much, and read nothing
CHAT = "/api/chat/stream"


class Claude:
    """Begins answers, and ends them when told to; whoever asks for much gets much."""

    def __init__(self) -> None:
        self.finish = asyncio.Event()
        self.begun = 0

    async def __call__(self, peer) -> None:
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        self.begun += 1
        if b"much" in peer.request.body:
            for _ in range(400):
                await peer.chunk(text_delta("x" * 50_000))
        async with asyncio.TaskGroup() as tasks:
            gone = tasks.create_task(peer.closed())
            told = tasks.create_task(self.finish.wait())
            await asyncio.wait({gone, told}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            told.cancel()
        await peer.chunk(text_delta("lo") + END)
        await peer.end()


@asynccontextmanager
async def loaded(directory, **variables):
    """A gateway's process, a Claude, and clients in the middle of their answers."""
    script = Claude()
    async with AsyncExitStack() as stack:
        claude = await stack.enter_async_context(scripted_upstream(script))
        settings = {
            "ANTHROPIC_API_KEY": "sk-ant-mine",
            "ANTHROPIC_BASE_URL": claude.url,
            "TOKENWEIR_PLANS__DEFAULT__CONCURRENT_STREAMS": str(STREAMS),
            "TOKENWEIR_PLANS__DEFAULT__REQUESTS_PER_MINUTE": str(STREAMS),
            **variables,
        }
        gateway = await stack.enter_async_context(serving(directory, "serve", **settings))
        stack.callback(script.finish.set)
        key = make_key(directory)
        clients = []
        for number in range(STREAMS):
            stalled = number < STALLED
            body = json.dumps({"message": "much" if stalled else "hi"}).encode()
            asked = request_bytes("POST", CHAT, f"x-api-key: {key}", "connection: close", body=body)
            client = await stack.enter_async_context(connected(gateway.url, asked))
            if stalled:
                client.writer.transport.pause_reading()
            else:
                await client.until(b"Hel")
                clients.append(client)
        await eventually(lambda: script.begun == STREAMS)
        yield gateway, claude, script, clients


async def told(client) -> list:
    rest = await client.rest()
    _, _, framed = rest.partition(b"\r\n")  # of the chunk that was begun
    return frames(dechunked(framed))


def requests_of(ended) -> list[dict]:
    lines = [line for line in ended.log if line["event"] == "request"]
    assert len({line["request_id"] for line in lines}) == len(lines)
    return lines


async def test_sigterm_under_load_lets_everybody_finish(tmp_path):
    variables = {"TOKENWEIR_SERVER__DRAIN_DELAY": "0", "TOKENWEIR_SERVER__SLOW_CLIENT_TIMEOUT": "1s"}
    async with loaded(tmp_path, **variables) as (gateway, claude, script, clients):
        gateway.signal(signal.SIGTERM)
        await gateway.until("draining")
        script.finish.set()
        for answer in await asyncio.gather(*map(told, clients)):
            assert [frame["type"] for frame in answer] == ["text", "done"]
        ended = await gateway.end()
        async with asyncio.timeout(20):
            await claude.all_closed.wait()
    assert (ended.code, ended.err) == (0, "")
    outcomes = [(line["kind"], line.get("error")) for line in requests_of(ended)]
    assert sorted(outcomes, key=str) == [("done", None)] * len(clients) + [("error", "slow_client")] * STALLED


async def test_sigterm_under_load_tells_those_who_are_left_that_a_retry_helps(tmp_path):
    """Those who read nothing cannot be told: they are reset, and keep nobody waiting."""
    variables = {"TOKENWEIR_SERVER__DRAIN_DELAY": "0", "TOKENWEIR_SERVER__DRAIN_GRACE": "100ms"}
    async with loaded(tmp_path, **variables) as (gateway, claude, _, clients):
        gateway.signal(signal.SIGTERM)
        for answer in await asyncio.gather(*map(told, clients)):
            (error,) = answer
            assert (error["type"], error["metadata"]["code"]) == ("error", "draining")
            assert error["metadata"]["retryable"] is True
        ended = await gateway.end()
        async with asyncio.timeout(20):
            await claude.all_closed.wait()
    assert (ended.code, ended.err) == (0, "")
    assert [(line["kind"], line["error"]) for line in requests_of(ended)] == [("error", "draining")] * STREAMS


async def test_a_process_that_is_killed_leaves_nobody_waiting_and_the_next_one_starts_clean(tmp_path):
    async with loaded(tmp_path) as (gateway, claude, script, clients):
        gateway.signal(signal.SIGKILL)
        for client in clients:
            with suppress(ConnectionResetError):
                assert b"\r\n0\r\n" not in await client.rest()  # without the last chunk it is no end in order
        async with asyncio.timeout(20):
            await claude.all_closed.wait()
        assert (await gateway.end()).code == -signal.SIGKILL
    async with loaded(tmp_path) as (gateway, claude, script, clients):
        script.finish.set()
        for answer in await asyncio.gather(*map(told, clients)):
            assert answer[-1]["type"] == "done"


@pytest.mark.parametrize("kind", ["stream", "whole"])
async def test_the_end_of_an_answer_that_is_not_taken_yet_is_waited_for(kind, tmp_path):
    text = b"x" * 20_000
    if kind == "stream":
        script = stream(START + BLOCK + text_delta(text.decode()) + END)
    else:
        script = answer(200, b'{"type":"message","content":[{"type":"text","text":"%b"}],"usage":{}}' % text)
    variables = {"ANTHROPIC_API_KEY": "sk-ant-mine", "TOKENWEIR_SERVER__DRAIN_DELAY": "0"}
    variables |= {"TOKENWEIR_SERVER__SEND_BUFFER": "4096", "TOKENWEIR_LOG__GATHER": "0"}
    body = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        scripted_upstream(script) as claude,
        serving(tmp_path, "serve", ANTHROPIC_BASE_URL=claude.url, **variables) as gateway,
    ):
        credential = f"x-api-key: {make_key(tmp_path)}"
        content = json.dumps({**body, "stream": kind == "stream"}).encode()
        asked = request_bytes("POST", "/v1/messages", credential, "connection: close", body=content)
        async with narrow(gateway.url, asked) as sock:
            await gateway.until('"kind"')  # the answer's line in the log
            gateway.signal(signal.SIGTERM)
            await gateway.until("draining")
            taken = await to_the_end(sock, 4096, 0.01)
        ended = await gateway.end()
    assert text in taken
    assert (ended.code, ended.err) == (0, "")
