"""Clients that speak TLS with the gateway itself are served, bounded and noticed as those behind a proxy are."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.web.server import ListenError
from tests.support.aftermath import nothing_left
from tests.support.frames import frames
from tests.support.gateway import configuration
from tests.support.observed import PATIENCE, Outcomes, eventually, observed
from tests.support.raw_client import RawConnection, request_bytes
from tests.support.scripted_upstream import BLOCK, HELLO, SSE_HEAD, START, answer, scripted_upstream, stream, text_delta

CHAT, MESSAGES = "/api/chat/stream", "/v1/messages"
ASK = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def context(trusted):
    return ssl.create_default_context(cafile=trusted)


@pytest.fixture
def shop(tmp_path, certificate):
    """Serve over TLS."""

    @asynccontextmanager
    async def shop(*scripts, **server):
        async with scripted_upstream(*scripts) as claude:
            settings = configuration(tmp_path, claude.url, server={**certificate(), **server})
            async with observed(settings) as (caller, outcomes):
                yield caller, outcomes, claude

    return shop


async def rests(peer) -> None:
    await peer.send(SSE_HEAD)
    await peer.chunk(START + BLOCK + text_delta("Hel"))
    await peer.closed()


async def floods(peer) -> None:
    await peer.send(SSE_HEAD)
    await peer.chunk(START + BLOCK + text_delta("Hel"))
    while True:
        await peer.chunk(text_delta("x" * 10_000))


@asynccontextmanager
async def secured(caller, context, *, narrow: bool = False):
    """Connect, and ask for a stream."""
    port = int(caller.gateway.url.rpartition(":")[2])
    sock = socket.socket()
    if narrow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname="localhost", limit=4096)
    try:
        body = json.dumps({"message": "hi"}).encode()
        writer.write(request_bytes("POST", CHAT, f"x-api-key: {caller.key}", body=body))
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()


async def test_streams_and_whole_answers_are_as_they_are_without(shop, context):
    whole = answer(200, b'{"type":"message","content":[],"usage":{"input_tokens":1,"output_tokens":1}}')
    async with shop(stream(HELLO), whole) as (caller, outcomes, _):
        assert caller.gateway.url.startswith("https://")
        async with caller.session.post(
            caller.gateway.url + CHAT, json={"message": "hi"}, headers=caller.headers, ssl=context
        ) as response:
            assert response.status == 200
            assert [frame["type"] for frame in frames(await response.read())] == ["text", "text", "done"]
        async with caller.session.post(
            caller.gateway.url + MESSAGES, json=ASK, headers=caller.headers, ssl=context
        ) as response:
            assert (response.status, (await response.json())["type"]) == (200, "message")
        assert [outcome.kind for outcome in await outcomes.reach(2)] == ["done", "done"]


@pytest.mark.parametrize("flows", [False, True], ids=["while nothing comes", "in a flood"])
@pytest.mark.parametrize("how", ["closes", "resets", "half-closes"])
async def test_a_client_that_leaves_stops_claude(shop, context, how, flows):
    async with (
        shop(floods if flows else rests) as (caller, outcomes, claude),
        nothing_left(caller, outcomes),
        secured(caller, context) as client,
        asyncio.timeout(PATIENCE),
    ):
        await client.until(b"Hel")
        if flows:
            (job,) = caller.gateway.services.streams.running
            await eventually(lambda: job.relay.pauses > 0)
        if how == "half-closes":
            with socket.socket(fileno=os.dup(client.writer.get_extra_info("socket").fileno())) as sock:
                sock.shutdown(socket.SHUT_WR)
        elif how == "resets":
            client.reset()
        else:
            client.writer.close()
        await claude.all_closed.wait()
        outcome = await outcomes.only()
        assert (outcome.kind, outcome.error_code) == ("disconnected", None)


@pytest.mark.parametrize("farewell", [True, False], ids=["with a farewell", "without"])
async def test_a_client_that_half_closes_and_reads_nothing_is_gone(shop, context, farewell):
    """What waits for it is in a buffer of TLS that nobody can look into, and more is not to come."""

    async def sends_some(peer) -> None:
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("x" * 1000) * 30)
        await peer.closed()

    async with (
        shop(sends_some, send_buffer=4096) as (caller, outcomes, claude),
        nothing_left(caller, outcomes),
        asyncio.timeout(PATIENCE),
    ):
        port = int(caller.gateway.url.rpartition(":")[2])
        with await asyncio.to_thread(_secured_narrowly, port, context) as sock:
            body = json.dumps({"message": "hi"}).encode()
            sock.sendall(request_bytes("POST", CHAT, f"x-api-key: {caller.key}", body=body))
            streams = caller.gateway.services.streams
            await eventually(lambda: any(job.record.timing.first_token for job in streams.running))
            if farewell:
                sock.setblocking(False)
                with suppress(ssl.SSLError):
                    sock.unwrap()
            else:
                with socket.socket(fileno=os.dup(sock.fileno())) as bare:
                    bare.shutdown(socket.SHUT_WR)
            await claude.all_closed.wait()
            outcome = await outcomes.only()
        assert (outcome.kind, outcome.error_code) == ("disconnected", None)


def _secured_narrowly(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    return context.wrap_socket(sock, server_hostname="localhost")


async def test_more_requests_than_may_wait_end_the_connection_after_the_first_answer(shop, context, caplog):
    async with shop(stream(HELLO)) as (caller, outcomes, _), secured(caller, context) as client:
        body = json.dumps({"message": "hi"}).encode()
        client.writer.write(request_bytes("POST", CHAT, f"x-api-key: {caller.key}", body=body) * 3)
        assert (await client.rest()).endswith(b"0\r\n\r\n")
        assert [outcome.kind for outcome in await outcomes.reach(1)] == ["done"]
    assert not [line for line in caplog.records if line.levelname == "ERROR"]


async def test_a_client_that_reads_nothing_is_bounded_and_dropped(shop, context):
    async with (
        shop(floods, slow_client_timeout=0.3) as (caller, outcomes, claude),
        nothing_left(caller, outcomes),
        secured(caller, context, narrow=True),
        asyncio.timeout(PATIENCE),
    ):
        await eventually(lambda: caller.gateway.services.streams.running)
        (job,) = caller.gateway.services.streams.running
        await eventually(lambda: job.relay.pauses > 0)
        assert job.relay.sent < 2 * 1024 * 1024
        await claude.all_closed.wait()
        assert (await outcomes.only()).error_code == "slow_client"


async def test_a_handshake_that_does_not_come_has_the_time_of_a_head(shop):
    async with shop(header_timeout=0.2) as (caller, outcomes, _), asyncio.timeout(PATIENCE):
        port = int(caller.gateway.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        assert outcomes.all == []


async def test_http_without_tls_is_refused_and_costs_nothing(shop):
    async with shop() as (caller, outcomes, _), asyncio.timeout(PATIENCE):
        port = int(caller.gateway.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes("GET", "/health"))
        with suppress(ConnectionResetError):
            assert b"HTTP" not in await reader.read()
        writer.close()
        assert outcomes.all == []


async def test_a_reload_takes_the_new_certificate_and_keeps_the_streams(shop, context, certificate):
    async with shop(rests) as (caller, _, claude), secured(caller, context) as client:
        await client.until(b"Hel")
        before = client.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
        certificate()
        config = caller.gateway._config
        await caller.gateway.reload(config, Outcomes())
        async with secured(caller, context) as later:
            await later.until(b"Hel")
            assert later.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"] != before
        assert len(claude.requests) == 2
        assert not client.reader.at_eof()


async def test_a_reload_with_a_certificate_that_is_none_is_refused(shop, tmp_path):
    async with shop(rests) as (caller, _, __):
        (tmp_path / "chain.pem").write_text("none")
        with pytest.raises(ListenError, match="tls_certificate: allowed: a file in PEM form"):
            await caller.gateway.reload(caller.gateway._config, Outcomes())
