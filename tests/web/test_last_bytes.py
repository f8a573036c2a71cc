"""The end of an answer, when its client has a lot to take before it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.aftermath import nothing_left
from tests.support.gateway import configuration
from tests.support.observed import PATIENCE, eventually, observed
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import BLOCK, END, HELLO, SSE_HEAD, START, scripted_upstream, stream, text_delta
from tests.support.slow_client import narrow

MESSAGES = "/v1/messages"
ASK = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "stream": True}
MARK = 64 * 1024
SMALL = {"write_buffer": MARK, "send_buffer": 4096}
JUST_BELOW = 300


def ask(caller) -> bytes:
    return request_bytes("POST", MESSAGES, f"x-api-key: {caller.key}", body=json.dumps(ASK).encode())


class Fills:
    """A Claude whose answer ends when the client's buffer is all but at its mark."""

    def __init__(self) -> None:
        self.caller = None
        self.ended = asyncio.Event()

    async def __call__(self, peer) -> None:
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK)
        streams = self.caller.gateway.services.streams
        await eventually(lambda: any(job.relay.committed for job in streams.running))
        (job,) = streams.running
        while (left := MARK - JUST_BELOW - job.held_bytes) > 0:
            sent = job.relay.sent
            await peer.chunk(text_delta("x" * max(1, min(2000, left - 180))))
            await eventually(lambda: job.relay.sent > sent)  # noqa: B023 - called at once
        assert not job.relay.pauses
        await peer.chunk(END)
        await peer.end()
        self.ended.set()


async def test_a_client_that_takes_a_little_now_and_then_gets_it_all(tmp_path):
    claudes = Fills()
    async with (
        scripted_upstream(claudes) as claude,
        observed(configuration(tmp_path, claude.url, server={**SMALL, "slow_client_timeout": 0.4})) as (caller, outcomes),
        asyncio.timeout(PATIENCE),
    ):
        claudes.caller = caller
        async with narrow(caller.gateway.url, ask(caller)) as sock:
            await claudes.ended.wait()
            taken = b""
            while not taken.endswith(b"0\r\n\r\n"):
                taken += await asyncio.get_running_loop().sock_recv(sock, 4096)
                await asyncio.sleep(0.05)
            assert b"message_stop" in taken
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.error_code) == ("done", None)
    assert outcome.duration > 0.4


@pytest.mark.parametrize("cut", [False, True], ids=["in its time", "when it is cut"])
async def test_a_client_that_takes_nothing_is_reset(cut, tmp_path):
    claudes, timeout = Fills(), 30 if cut else 0.2
    server = {**SMALL, "slow_client_timeout": timeout}
    async with (
        scripted_upstream(claudes) as claude,
        observed(configuration(tmp_path, claude.url, server=server)) as (caller, outcomes),
        nothing_left(caller, outcomes),
        asyncio.timeout(PATIENCE),
    ):
        claudes.caller = caller
        async with narrow(caller.gateway.url, ask(caller)) as sock:
            await claudes.ended.wait()
            (job,) = caller.gateway.services.streams.running
            await eventually(lambda: job._sending is not None)
            if cut:
                caller.gateway._generation.cut()
            await outcomes.reach(1)
            with pytest.raises(ConnectionResetError):
                while await asyncio.get_running_loop().sock_recv(sock, 4096):
                    pass
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.error_code) == ("error", "draining" if cut else "slow_client")


@pytest.mark.parametrize("reload", [False, True], ids=["drain", "reload"])
async def test_a_request_whose_body_is_not_there_at_the_end_of_the_grace_is_told(reload, tmp_path):
    server = {"drain_grace": 0.2, "drain_last_words": 0.3}
    async with scripted_upstream(stream(HELLO)) as claude:
        config = configuration(tmp_path, claude.url, server=server)
        async with (
            observed(config) as (caller, outcomes),
            connected(caller.gateway.url, ask(caller)[:-5]) as raw,
            asyncio.timeout(PATIENCE),
        ):
            await eventually(lambda: len(caller.gateway.services.streams) == 1)
            if reload:
                await caller.gateway.reload(config, outcomes)
            else:
                ending = asyncio.create_task(caller.gateway.drain(0.0))
            status, headers, body = await raw.answer()
            assert (status, headers["Retry-After"], headers["Connection"]) == (503, "1", "close")
            assert json.loads(body)["error"]["message"].startswith("The gateway is restarting")
            if not reload:
                await ending
            outcome = await outcomes.only()
        assert (outcome.kind, outcome.error_code) == ("refused", "draining")
        assert not claude.requests


async def test_a_connection_whose_stream_outlived_a_reload_ends_with_it(tmp_path):
    """Its head promised more; a client that finds out only with its next request has lost that one."""
    finish = asyncio.Event()

    async def waits(peer) -> None:
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK)
        if len(claude.requests) == 1:
            await finish.wait()
        else:
            await peer.closed()
        await peer.chunk(END)
        await peer.end()

    async with scripted_upstream(waits) as claude:
        config = configuration(tmp_path, claude.url)
        async with (
            observed(config) as (caller, outcomes),
            connected(caller.gateway.url, ask(caller)) as ends,
            asyncio.timeout(PATIENCE),
        ):
            assert b"Connection: close" not in await ends.until(b"message_start")
            async with (
                connected(caller.gateway.url, ask(caller)) as goes_on,
                connected(caller.gateway.url, request_bytes("GET", "/health")) as idle,
            ):
                await goes_on.until(b"message_start")
                await idle.answer()
                await caller.gateway.reload(config, outcomes)
                assert await idle.rest() == b""  # what is idle has been closed
                finish.set()
                assert (await ends.rest()).endswith(b"0\r\n\r\n")
                assert not goes_on.reader.at_eof()
