"""One request to a cloud: refusals, cuts, flow control, deadlines, credentials, and the end at any moment."""

from __future__ import annotations

import asyncio
import json
import socket
from types import SimpleNamespace

import httpx2
import pytest
from anthropic import AsyncAnthropicBedrock, AsyncAnthropicVertex

from gateway.core.errors import (
    GatewayFault,
    Overloaded,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from gateway.tasks import TaskOwner
from gateway.upstream.cloud_client import bound
from gateway.upstream.clouds import CloudUpstream
from gateway.upstream.settings import TransportSettings, UpstreamSettings
from tests.support.clouds import (
    AWS_HEAD,
    MEGABYTE,
    SESSION_TOKEN,
    aws_stream,
    bedrock,
    chunk,
    chunks,
    exception,
    failure,
    refused,
    send,
    vertex,
)
from tests.support.scripted_upstream import HELLO, START, Peer, answer, scripted_upstream, text_delta
from tests.support.upstreams import Kept, refusing_port, until, within

# Refusals.


async def test_a_refusal_of_bedrocks_is_claudes(opened):
    headers = (b"x-amzn-errortype: ThrottlingException:http://internal/", b"retry-after: 2", b"x-amzn-requestid: aws-9")
    async with scripted_upstream(answer(429, b'{"message":"Too many tokens."}', *headers)) as aws:
        status, headers, body = await refused(opened(bedrock(aws.url)))
    assert status == 429
    assert headers == {"content-type": "application/json", "request-id": "req_claude", "retry-after": "2"}
    assert body == {"type": "error", "error": {"type": "rate_limit_error", "message": "Too many tokens."}}
    assert len(aws.requests) == 1


async def test_a_refusal_of_vertexs_is_claudes(opened):
    google = b'[{"error":{"code":503,"message":"The service is unavailable.","status":"UNAVAILABLE"}}]'
    async with scripted_upstream(answer(503, google)) as fake:
        status, _, body = await refused(opened(vertex(fake.url)))
    assert status == 529
    assert body["error"] == {"type": "overloaded_error", "message": "The service is unavailable."}


async def test_a_refusal_holds_nothing_that_the_request_was_signed_with(opened):
    async def script(peer: Peer) -> None:
        signature = peer.request.headers["authorization"]
        text = json.dumps({"message": f"Not understood: {signature} {SESSION_TOKEN}"}).encode()
        await answer(400, text)(peer)

    async with scripted_upstream(script) as aws:
        _, _, body = await refused(opened(bedrock(aws.url)))
    assert body["error"]["message"] == "Not understood: *** ***"


async def test_of_a_long_refusal_the_status_counts(opened):
    async def script(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(100):
            await peer.chunk(b"x" * 60_000)
        await peer.closed()

    async with scripted_upstream(script) as google:
        status, _, body = await refused(opened(vertex(google.url), max_refusal=1000))
        await within(google.all_closed.wait())
    assert status == 500
    assert body["error"]["message"] == "The cloud answered with status 500."


async def test_of_a_refusal_that_is_cut_the_status_counts(opened):
    async def script(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 404 No\r\ncontent-encoding: gzip\r\ncontent-length: 100\r\n\r\n{")
        peer.reset()

    async with scripted_upstream(script) as google:
        status, headers, body = await refused(opened(vertex(google.url)))
    assert status == 404
    assert headers == {"content-type": "application/json"}
    assert body["error"]["type"] == "not_found_error"


# No answer.


@pytest.mark.parametrize("cloud", [bedrock, vertex])
async def test_nobody_there_is_unreachable(opened, cloud):
    error = await failure(opened(cloud(f"http://127.0.0.1:{refusing_port()}")))
    assert type(error) is UpstreamUnreachable
    assert error.detail is not None
    assert error.detail.startswith("ConnectError")


async def test_a_connection_that_ends_before_an_answer_is_unreachable(opened):
    async def script(peer: Peer) -> None:
        peer.reset()

    async with scripted_upstream(script) as aws:
        assert type(await failure(opened(bedrock(aws.url)))) is UpstreamUnreachable
    assert len(aws.requests) == 1  # attempts are the gateway's, not the SDK's


async def test_what_is_no_http_is_unreachable_and_not_quoted(opened):
    async def script(peer: Peer) -> None:
        await peer.send(b"hush hush\r\n\r\n")
        peer.writer.close()

    async with scripted_upstream(script) as aws:
        error = await failure(opened(bedrock(aws.url)))
    assert type(error) is UpstreamUnreachable
    assert error.detail == "RemoteProtocolError"


async def test_no_connection_in_time_is_a_timeout(opened):
    """A listener whose queue is full accepts no connection."""
    reached = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0, backlog=1)
    port = server.sockets[0].getsockname()[1]
    async with server:
        error = await failure(opened(bedrock(f"https://127.0.0.1:{port}"), connect_timeout=0.2))
    assert isinstance(error, UpstreamTimeout | UpstreamUnreachable)


async def test_no_free_connection_in_time_is_an_overload(opened):
    async def script(peer: Peer) -> None:
        await peer.closed()

    async with scripted_upstream(script) as aws:
        upstream = opened(bedrock(aws.url), max_connections=1, pool_timeout=0.05)
        first = await send(upstream)
        await until(lambda: aws.requests)
        error = await failure(upstream)
        first.abort()
    assert type(error) is Overloaded


# The body.


async def test_a_stream_that_is_cut_tells_so_after_what_came(opened):
    async def script(peer: Peer) -> None:
        await peer.send(AWS_HEAD)
        await peer.chunk(chunks(START) + chunk(b'{"type":"ping"}')[:20])
        peer.reset()

    async with scripted_upstream(script) as aws:
        exchange = await send(opened(bedrock(aws.url)))
        await within(exchange.head)
        kept = Kept()
        exchange.attach(kept)
        await kept.wait()
    assert kept.body == START
    assert type(kept.error) is UpstreamTruncated
    assert not exchange.complete


async def test_a_damaged_stream_is_malformed_and_its_connection_closed(opened):
    async def script(peer: Peer) -> None:
        await peer.send(AWS_HEAD)
        await peer.chunk(chunks(START) + b"\0" * 100)
        await peer.closed()

    async with scripted_upstream(script) as aws:
        exchange = await send(opened(bedrock(aws.url)))
        kept = Kept()
        exchange.attach(kept)
        await kept.wait()
        await within(aws.all_closed.wait())
    assert kept.body == START
    assert type(kept.error) is UpstreamMalformed


async def test_an_exception_in_the_stream_is_an_error_event(opened):
    async with scripted_upstream(aws_stream(chunks(START) + exception("throttlingException", "Slower."))) as aws:
        exchange = await send(opened(bedrock(aws.url)))
        kept = Kept()
        exchange.attach(kept)
        await kept.wait()
    error = b'{"type":"error","error":{"type":"rate_limit_error","message":"Slower."}}'
    assert kept.body == START + b"event: error\ndata: " + error + b"\n\n"


async def test_another_content_type_is_left_for_whoever_expects_a_stream(opened):
    async with scripted_upstream(answer(200, b"<html>", b"content-type: text/html")) as aws:
        exchange = await send(opened(bedrock(aws.url)))
        await within(exchange.head)
        exchange.abort()
    assert exchange.headers["content-type"] == "text/html"


class Bounded(Kept):
    """A sink that pauses its exchange with everything that comes."""

    exchange: object = None

    def data(self, chunk: bytes) -> None:
        super().data(chunk)
        self.exchange.pause()  # type: ignore[attr-defined]


async def test_while_paused_nothing_is_read_and_the_cloud_has_to_wait(opened):
    sent = 0
    event = chunk(text_delta("x" * 30_000)[len("event: content_block_delta\ndata: ") : -2])

    async def script(peer: Peer) -> None:
        nonlocal sent
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        peer.writer.transport.set_write_buffer_limits(0)
        await peer.send(AWS_HEAD)
        while sent < 64 * MEGABYTE:
            await peer.chunk(event)
            sent += len(event)
        await peer.end()

    async with scripted_upstream(script) as aws:
        exchange = await send(opened(bedrock(aws.url), receive_buffer=65536))
        await within(exchange.head)
        kept = Bounded()
        kept.exchange = exchange
        exchange.attach(kept)
        await until(lambda: kept.parts)
        await _still(lambda: sent)
        assert len(kept.parts) == 1
        assert sent < MEGABYTE
        before = sent
        for _ in range(200):
            count = len(kept.parts)
            exchange.resume()
            await until(lambda count=count: len(kept.parts) > count)
        await until(lambda: sent > before)
        exchange.abort()
        await within(aws.all_closed.wait())
    assert not kept.over.is_set()


async def _still(value) -> None:
    """Wait until a value has not changed for a while of the loop's turns."""
    async with asyncio.timeout(10):
        same, before = 0, value()
        while same < 200:
            await asyncio.sleep(0)
            same, before = (same + 1, before) if value() == before else (0, value())


@pytest.mark.parametrize("closed", [False, True])
def test_the_kernel_takes_no_more_for_a_connection_than_the_operator_says(closed):
    """Linux makes twice as much of it, for its own bookkeeping."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if closed:
            ours.close()
        stream = SimpleNamespace(get_extra_info={"socket": ours}.get)
        bound(httpx2.Response(200, extensions={"network_stream": stream}), 65536)
        assert closed or ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 131072


async def test_what_is_paused_before_it_is_attached_begins_when_it_is_resumed(opened):
    async with scripted_upstream(aws_stream(chunks(HELLO))) as aws:
        exchange = await send(opened(bedrock(aws.url)))
        exchange.pause()
        await within(exchange.head)
        exchange.resume()
        exchange.pause()
        kept = Kept()
        exchange.attach(kept)
        await _still(lambda: len(kept.parts))
        assert not kept.parts
        exchange.resume()
        await kept.wait()
    assert kept.body == HELLO


# The end.


async def test_abort_closes_the_connection_before_a_head(opened):
    async def script(peer: Peer) -> None:
        await peer.closed()

    async with scripted_upstream(script) as aws:
        exchange = await send(opened(bedrock(aws.url)))
        await until(lambda: aws.requests)
        exchange.abort()
        await within(aws.all_closed.wait())
    assert exchange.head.cancelled()


async def test_abort_closes_the_connection_in_mid_stream(opened):
    async def script(peer: Peer) -> None:
        await peer.send(AWS_HEAD)
        await peer.chunk(chunks(START))
        await peer.closed()

    async with scripted_upstream(script) as aws:
        exchange = await send(opened(bedrock(aws.url)))
        kept = Kept()
        exchange.attach(kept)
        await until(lambda: kept.parts)
        exchange.abort()
        await within(aws.all_closed.wait())
    assert not kept.over.is_set()


async def test_abort_by_the_sink_itself_closes_the_connection(opened):
    class Leaving(Kept):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            exchange.abort()

    async def script(peer: Peer) -> None:
        await peer.send(AWS_HEAD)
        await peer.chunk(chunks(START))
        await peer.closed()

    async with scripted_upstream(script) as aws:
        exchange = await send(opened(bedrock(aws.url)))
        kept = Leaving()
        exchange.attach(kept)
        await within(aws.all_closed.wait())
    assert kept.body == START
    assert not kept.over.is_set()


async def test_abort_before_anything_was_sent_asks_nobody(opened):
    async with scripted_upstream() as aws:
        upstream = opened(bedrock(aws.url))
        exchange = await send(upstream)
        exchange.abort()
        await until(lambda: not upstream.pool.busy)
    assert not aws.requests


async def test_closing_the_pool_tells_who_waits_for_a_body_or_a_head(opened):
    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await peer.send(AWS_HEAD)
        await peer.closed()

    async with scripted_upstream(script) as aws:
        upstream = opened(bedrock(aws.url))
        streaming = await send(upstream)
        await within(streaming.head)
        waiting = await send(upstream)
        await until(lambda: len(aws.requests) == 2)
        upstream.pool.close()
        with pytest.raises(UpstreamTruncated):
            await within(waiting.head)
        await until(lambda: not upstream.pool.busy)
        kept = Kept()
        streaming.attach(kept)  # somebody who comes late is told as well
        assert type(kept.error) is UpstreamTruncated


async def test_a_fault_in_the_sink_is_reported_and_the_connection_closed():
    class Faulty(Kept):
        def data(self, chunk: bytes) -> None:
            raise LookupError(len(chunk))

    async def script(peer: Peer) -> None:
        await peer.send(AWS_HEAD)
        await peer.chunk(chunks(START))
        await peer.closed()

    reported: list[BaseException] = []
    owner = TaskOwner(reported.append)
    async with scripted_upstream(script) as aws:
        settings = UpstreamSettings.model_validate(bedrock(aws.url))
        exchange = await send(CloudUpstream(settings, TransportSettings(), owner.spawn))
        kept = Faulty()
        exchange.attach(kept)
        await kept.wait()
        await within(aws.all_closed.wait())
        await owner.close()
    assert type(kept.error) is GatewayFault
    assert [type(error) for error in reported] == [LookupError]


def test_the_sdks_address_for_a_region_is_ours():
    """The addresses are in the settings, so that they are shown; they are Claude's SDK's."""
    for region in ("global", "us", "eu", "us-east5"):
        theirs = AsyncAnthropicVertex(region=region, project_id="p", access_token="t").base_url
        assert str(theirs).rstrip("/") == str(UpstreamSettings(kind="vertex", region=region).base_url).rstrip("/")
    theirs = AsyncAnthropicBedrock(aws_region="us-east-1").base_url
    assert f"{theirs}/" == str(UpstreamSettings(kind="bedrock", region="us-east-1").base_url)
