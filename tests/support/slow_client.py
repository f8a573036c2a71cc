"""A client that reads only what a test tells it to, through buffers as small as can be."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager


@asynccontextmanager
async def narrow(url: str, data: bytes):
    """Connect with a receive buffer as small as can be, send, and read nothing unless told to."""
    loop = asyncio.get_running_loop()
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, int(port)))
        await loop.sock_sendall(sock, data)
        yield sock


async def to_the_end(sock: socket.socket, size: int = 65536, pause: float = 0) -> bytes:
    """Read until the other side has closed in order, with a pause after each read."""
    loop = asyncio.get_running_loop()
    read = [await loop.sock_recv(sock, size)]
    while read[-1]:
        await asyncio.sleep(pause)
        read.append(await loop.sock_recv(sock, size))
    return b"".join(read)


async def dropped(caller) -> float:
    """Return how many such clients were dropped, as Prometheus reads it."""
    async with caller.session.get(f"{caller.gateway.ops_url}/metrics", headers={"connection": "close"}) as response:
        lines = (await response.text()).splitlines()
    (line,) = [line for line in lines if line.startswith("tokenweir_slow_clients_dropped_total ")]
    return float(line.rpartition(" ")[2])
