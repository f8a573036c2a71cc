"""What a stalled client costs, in the process and in the kernel, and how the sockets on both sides are set."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import termios
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.aftermath import nothing_left
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import connected, dechunked, parse_head, request_bytes
from tests.support.scripted_upstream import BLOCK, END, HELLO, SSE_HEAD, START, scripted_upstream, stream, text_delta

KIB = 1024
MIB = 1024 * KIB
# What the documentation states: uvloop reads as much at once.
ONE_READ = 256_000
PIECE = 64 * KIB

CHAT = b'{"message":"Hi"}'
MESSAGES = b'{"model":"claude-x","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}'
PATHS = pytest.mark.parametrize(("path", "body"), [("/api/chat/stream", CHAT), ("/v1/messages", MESSAGES)])


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: observed(configuration(tmp_path, claude.url, **sections))


class Long:
    """An answer of 20 MB from a side with small buffers, which says how much of it was taken."""

    def __init__(self) -> None:
        self.taken = 0

    async def __call__(self, peer) -> None:
        transport = peer.writer.transport
        transport.set_write_buffer_limits(high=0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK)
        some = text_delta("x" * 1000) * 10
        while self.taken < 20_000_000:
            await peer.chunk(some)
            self.taken += len(some)
        await peer.chunk(END)
        await peer.end()


def both_sides(caller, claude) -> dict[str, socket.socket]:
    """Return duplicates of the gateway's sockets of the one stream there is: the client's side and Claude's."""
    found = {}
    for sock in sockets_of_this_process():
        match side_of(sock, urlsplit(caller.gateway.url).port, urlsplit(claude.url).port):
            case None:
                sock.close()
            case side:
                assert side not in found
                found[side] = sock
    return found


def side_of(sock: socket.socket, gateway: int, claude: int) -> str | None:
    with suppress(OSError):  # it listens
        peer = sock.getpeername()
        if sock.family == socket.AF_INET:
            return "client" if sock.getsockname()[1] == gateway else "claude" if peer[1] == claude else None
    return None


def sockets_of_this_process() -> list[socket.socket]:
    """Return duplicates of all sockets. Not made by ``socket.dup``, which would make the originals block as well."""
    sockets = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            if str(entry.readlink()).startswith("socket:"):
                sockets.append(socket.socket(fileno=os.dup(int(entry.name))))
    return sockets


@asynccontextmanager
async def streaming(caller, claude, path, body, *headers):
    """A client that has read the head of its answer and nothing more, and the gateway's two sockets."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        target = urlsplit(caller.gateway.url)
        await loop.sock_connect(sock, (target.hostname, target.port))
        await loop.sock_sendall(sock, request_bytes("POST", path, f"x-api-key: {caller.key}", *headers, body=body))
        async with asyncio.timeout(20):
            assert await loop.sock_recv(sock, 100)
        sides = both_sides(caller, claude)
        try:
            yield sides
        finally:
            for side in sides.values():
                side.close()


def queued(sock: socket.socket, what: int) -> int:
    """Return bytes in one of a socket's buffers."""
    return struct.unpack("i", fcntl.ioctl(sock, what, bytes(4)))[0]


@PATHS
async def test_a_stalled_client_costs_what_is_documented(shop, path, body):
    long = Long()
    async with scripted_upstream(long) as claude, shop(claude) as (caller, outcomes):
        services = caller.gateway.services
        async with nothing_left(caller, outcomes), streaming(caller, claude, path, body) as sides:
            (job,) = services.streams.running
            await eventually(lambda: job.relay.pauses == 1)
            # Claude's side goes on until the kernel's buffers are full: then nothing moves any more.
            await settled(lambda: long.taken)
            server, transport = services.server, services.transport
            assert services.streams.held_bytes() == job.held_bytes
            assert server.write_buffer < job.held_bytes <= server.write_buffer + ONE_READ + PIECE
            waiting = queued(sides["client"], termios.TIOCOUTQ), queued(sides["claude"], termios.FIONREAD)
            assert waiting[0] <= 2 * server.send_buffer
            assert waiting[1] <= 2 * transport.receive_buffer
            assert long.taken < 2 * MIB
            assert job.relay.pauses == 1
            assert await scraped(caller, "client_held_bytes") == job.held_bytes
        (outcome,) = outcomes.all
        assert outcome.kind == "disconnected"
        assert await scraped(caller, "client_held_bytes") == 0
        assert await scraped(caller, "backpressure_pauses_total") == 1
        assert await scraped(caller, "backpressure_seconds_total") > 0


async def scraped(caller, name: str) -> float:
    """Return a number as Prometheus reads it."""
    async with caller.session.get(f"{caller.gateway.ops_url}/metrics", headers={"connection": "close"}) as response:
        lines = (await response.text()).splitlines()
    (line,) = [line for line in lines if line.startswith(f"tokenweir_{name} ")]
    return float(line.rpartition(" ")[2])


async def settled(number, looks: int = 50) -> None:
    """Wait until a number stays the same for so many looks."""
    before, same = number(), 0
    async with asyncio.timeout(20):
        while same < looks:
            await asyncio.sleep(0.002)
            before, same = number(), same + 1 if number() == before else 0


@PATHS
async def test_both_sides_are_set_as_configured(shop, path, body):
    """Tokens are small: without TCP_NODELAY one would wait for the acknowledgement of the one before."""
    settings = {"server": {"send_buffer": 100 * KIB}, "upstream": {"receive_buffer": 90 * KIB}}
    async with (
        scripted_upstream(Long()) as claude,
        shop(claude, **settings) as (caller, _),
        streaming(caller, claude, path, body) as sides,
    ):
        for side in sides.values():
            assert side.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sides["client"].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 100 * KIB
        assert sides["claude"].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 90 * KIB


@PATHS
async def test_a_stream_is_never_compressed(shop, path, body):
    """A compressor holds back tokens until it has enough of them."""
    headers = ("accept-encoding: gzip, deflate, br, zstd", "connection: close", "x-api-key: %s")
    async with scripted_upstream(stream(HELLO)) as claude, shop(claude) as (caller, _):
        asked = request_bytes("POST", path, *(header.replace("%s", caller.key) for header in headers), body=body)
        async with connected(caller.gateway.url, asked) as raw:
            _, sent = parse_head(await raw.until(b"\r\n\r\n"))
            told = dechunked(await raw.rest())
        assert claude.requests[0].headers["accept-encoding"] == "identity"
    assert "Content-Encoding" not in sent
    assert b"data: {" in told
