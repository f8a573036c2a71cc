"""What faults and paces look like to a client, over a real socket."""

from __future__ import annotations

import asyncio
import json
import zlib
from urllib.parse import urlsplit

import pytest


async def raw(simulator, body, fault, path="messages"):
    """Send a request by hand; return the reader and writer."""
    url = urlsplit(simulator.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/{path} HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\nanthropic-version: 1\r\nx-sim-fault: {fault}\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    writer.write(head.encode() + data)
    return reader, writer


async def until(http, simulator, **wanted):
    """Ask for the counts until they are as wanted."""
    async with asyncio.timeout(5):
        while True:
            async with http.get(f"{simulator.url}/_sim/stats") as answer:
                stats = await answer.json()
            if all(stats[name] == value for name, value in wanted.items()):
                return


async def test_a_stream_ends_framed_and_the_connection_lives_on(serve, body):
    simulator = await serve()
    reader, writer = await raw(simulator, body(stream=True), "")
    answer = await reader.readuntil(b"0\r\n\r\n")
    assert b"event: message_stop" in answer
    assert not reader.at_eof()
    writer.close()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_closes_the_connection_in_mid_body(serve, body, stream):
    simulator = await serve()
    reader, writer = await raw(simulator, body(stream=stream), "cut-after=2")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert not answer.endswith(b"0\r\n\r\n")
    assert answer.count(b"text_delta") == (2 if stream else 0)
    writer.close()


async def test_a_cut_at_zero_leaves_only_the_headers(serve, body):
    reader, writer = await raw(await serve(), body(stream=True), "cut-after=0")
    answer = await reader.read()
    assert answer.endswith(b"\r\n\r\n")
    assert b"event:" not in answer
    writer.close()


async def test_a_clean_end_has_its_last_chunk_but_no_message_stop(serve, body):
    reader, writer = await raw(await serve(), body(stream=True), "end-after=2")
    answer = await reader.readuntil(b"\r\n0\r\n\r\n")
    assert b"message_stop" not in answer
    writer.close()


async def test_a_reset_is_one(serve, body):
    reader, writer = await raw(await serve(), body(stream=True), "reset-after=2")
    with pytest.raises(ConnectionResetError):
        await reader.readuntil(b"never")
    writer.close()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stall_is_silent_until_the_client_leaves_and_that_is_counted(serve, http, body, stream):
    simulator = await serve()
    _, writer = await raw(simulator, body(stream=stream), "stall-after=2")
    await until(http, simulator, active=1)
    writer.close()
    await until(http, simulator, cancelled=1)
    assert simulator.stats.active == 0
    assert simulator.stats.finished == 0


async def test_a_client_that_leaves_a_fast_stream_stops_it_and_that_is_no_error(serve, http, body, caplog):
    """It goes between two writes, of which the second fails."""
    simulator = await serve()
    reader, writer = await raw(simulator, body(stream=True), "tokens=1000000")
    await reader.readexactly(10_000)
    writer.transport.abort()
    await until(http, simulator, cancelled=1)
    assert simulator.stats.tokens < 1_000_000
    assert [record.name for record in caplog.records] == []


@pytest.mark.parametrize("path", ["messages", "messages/count_tokens"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_before_the_headers_is_counted_once(serve, http, body, path, stream):
    simulator = await serve()
    _, writer = await raw(simulator, body(stream=stream), "slow-headers=1h", path)
    await until(http, simulator, requests=1, cancelled=0)
    writer.transport.abort()
    await until(http, simulator, cancelled=1, active=0, finished=0, refused=0)


async def test_a_client_that_leaves_before_a_late_error_is_counted_once(serve, http, body):
    simulator = await serve()
    _, writer = await raw(simulator, body(stream=False), "time-to-first-token=1h; error-after=2")
    await until(http, simulator, messages=1, cancelled=0)
    writer.transport.abort()
    await until(http, simulator, cancelled=1, active=0, finished=0, refused=0)


async def test_dripping_headers_arrive_whole_and_the_body_ends_with_the_connection(serve, body):
    reader, writer = await raw(await serve(), body(stream=True), "drip-headers=0.05")
    head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nrequest-id: req_")
    assert b"connection: close" in head
    assert rest.startswith(b"event: message_start")
    assert rest.rstrip().endswith(b"}")
    writer.close()


async def test_a_client_that_leaves_while_headers_drip_is_counted(serve, http, body):
    simulator = await serve()
    _, writer = await raw(simulator, body(stream=True), "drip-headers=1h")
    await until(http, simulator, active=1)
    writer.transport.abort()
    await until(http, simulator, cancelled=1)


@pytest.mark.parametrize("fault", ["gzip", "gzip; cut-after=3", "gzip; chunk-size=-1"])
async def test_an_answer_nobody_asked_to_compress_is_compressed(serve, http, body, fault):
    simulator = await serve()
    url = f"{simulator.url}/v1/messages"
    async with http.post(url, json=body(stream=True), headers={"x-sim-fault": fault}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        data = b"".join([piece async for piece in _pieces(answer)])
    assert zlib.decompressobj(wbits=31).decompress(data).startswith(b"event: message_start")


async def _pieces(answer):
    try:
        async for piece in answer.content.iter_any():
            yield piece
    except Exception:  # noqa: BLE001 - a cut was asked for; what came before it is what the test looks at
        return


async def test_every_write_is_one_event_unless_chunks_are_asked_for(serve, body):
    reader, writer = await raw(await serve(), body(stream=True), "chunk-size=7")
    await reader.readuntil(b"\r\n\r\n")
    assert await reader.readuntil(b"\r\n") == b"7\r\n"
    writer.close()


async def test_an_old_client_gets_the_stream_unframed(serve, body):
    simulator = await serve()
    url = urlsplit(simulator.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    data = json.dumps(body(stream=True)).encode()
    head = f"POST /v1/messages HTTP/1.0\r\nx-api-key: k\r\nanthropic-version: 1\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    head_back, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    assert b"chunked" not in head_back.lower()
    assert rest.startswith(b"event: message_start")
    writer.close()


async def test_a_whole_answer_waits_as_long_as_the_stream_would_take(serve, http, body):
    """The time is a lower bound only, so a slow machine does not fail it."""
    simulator = await serve(tokens_per_second=1000, time_to_first_token=0.03)
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with http.post(f"{simulator.url}/v1/messages", json=body("What are your opening hours?")) as answer:
        await answer.read()
    assert loop.time() - started >= 0.03 + 44 / 1000
