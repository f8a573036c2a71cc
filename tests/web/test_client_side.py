"""The client's end of a stream on a real socket: framing, flow control, and what counts as progress."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiohttp.http import StreamWriter
from multidict import CIMultiDict

from gateway.web.client_side import ClientSide


class Server(asyncio.Protocol):
    """The server's end of a connection, with flow control as aiohttp's."""

    def __init__(self, connected: asyncio.Future[Server]) -> None:
        self.connected = connected
        self.lost = asyncio.Event()
        self.writing_paused = False

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.connected.set_result(self)

    def connection_lost(self, _) -> None:
        self.lost.set()

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False


@asynccontextmanager
async def served(*, chunked: bool):
    """Yield the server's side, a client that reads only when told to, and the protocol between them."""
    loop = asyncio.get_running_loop()
    connected: asyncio.Future[Server] = loop.create_future()
    server = await loop.create_server(lambda: Server(connected), "127.0.0.1", 0)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        protocol = await connected
        request = SimpleNamespace(transport=protocol.transport, protocol=protocol)
        writer = StreamWriter(protocol, loop)
        if chunked:
            writer.enable_chunking()
        await writer.write_headers(HEAD[:-4].decode(), CIMultiDict())
        yield ClientSide(request, writer, 4096, chunked=chunked), client, protocol
        protocol.transport.abort()
        await protocol.lost.wait()
        server.close()


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


async def _received(client: socket.socket, size: int) -> bytes:
    found = b""
    async with asyncio.timeout(10):
        while len(found) < size:
            found += await asyncio.get_running_loop().sock_recv(client, size - len(found))
    return found


@pytest.mark.parametrize(("chunked", "sent"), [(True, b"5\r\nhello\r\n"), (False, b"hello")])
async def test_a_write_is_one_chunk_or_bare(chunked, sent):
    async with served(chunked=chunked) as (side, client, _):
        side.write(b"hello")
        side.write(b"hello")
        assert await _received(client, len(HEAD + sent + sent)) == HEAD + sent + sent


async def test_the_head_goes_out_in_one_packet_with_the_first_bytes():
    async with served(chunked=True) as (side, _client, protocol):
        written = []
        protocol.transport = SimpleNamespace(
            write=written.append, is_closing=lambda: False, abort=protocol.transport.abort
        )
        side.write(b"hello")
        side.send_head()
        assert written == [HEAD + b"5\r\nhello\r\n"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_the_head_can_go_out_alone_and_goes_out_once(chunked):
    async with served(chunked=chunked) as (side, client, _):
        side.send_head()
        side.send_head()
        assert await _received(client, len(HEAD)) == HEAD
        side.write(b"x")
        sent = b"1\r\nx\r\n" if chunked else b"x"
        assert await _received(client, len(sent)) == sent


async def test_a_long_first_piece_follows_its_head():
    async with served(chunked=False) as (side, client, _):
        side.write(b"x" * 10_000)
        assert await _received(client, len(HEAD) + 10_000) == HEAD + b"x" * 10_000


async def test_there_is_room_until_half_the_high_water_mark_waits():
    async with served(chunked=False) as (side, _, _):
        assert side.has_room(2000)
        assert not side.has_room(2048)
        side.write(b"x" * 8_000_000)
        assert not side.has_room(1)


async def test_a_client_that_reads_slowly_makes_progress_before_the_kernel_wants_more():
    async with served(chunked=False) as (side, client, protocol):
        assert side.write(b"x" * 8_000_000)
        waiting, ours = side.waiting_bytes, side.held_bytes
        assert waiting > ours > 0
        async with asyncio.timeout(10):
            while side.waiting_bytes >= waiting:
                await asyncio.get_running_loop().sock_recv(client, 4096)
        assert side.held_bytes == ours


async def test_to_a_connection_that_is_gone_nothing_is_written_and_nothing_waits():
    async with served(chunked=True) as (side, _, protocol):
        side.abort()
        side.write(b"late")
        side.abort()
        await protocol.lost.wait()
        assert side.waiting_bytes == 0


async def test_a_client_that_left_before_its_stream_began_is_a_reset():
    with pytest.raises(ConnectionResetError):
        ClientSide(SimpleNamespace(transport=None), None, 4096, chunked=True)


async def test_what_comes_with_the_end_is_kept_for_it_while_it_is_small():
    async with served(chunked=False) as (side, client, _):
        assert side.write(b"a" * 4000, last=True) is False
        side.write(b"b" * 96, last=True)
        assert side.kept == b"a" * 4000 + b"b" * 96
        assert side.held_bytes == 4096
        with pytest.raises(BlockingIOError):
            client.recv(1)


@pytest.mark.parametrize("last", [True, False])
async def test_what_was_kept_goes_before_what_is_not(last):
    async with served(chunked=False) as (side, client, _):
        side.write(b"kept", last=True)
        side.write(b"x" * 5000, last=last)
        assert side.kept == b""
        expected = HEAD + b"kept" + b"x" * 5000
        assert await _received(client, len(expected)) == expected


async def test_what_was_kept_for_an_end_that_does_not_follow_goes_out_once_with_the_head():
    async with served(chunked=False) as (side, client, _):
        side.write(b"kept", last=True)
        side.send_kept()
        side.send_kept()
        assert side.kept == b""
        assert await _received(client, len(HEAD) + 4) == HEAD + b"kept"
