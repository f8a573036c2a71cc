"""A proxy on a real socket that opens tunnels, or answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class TunnelProxy:
    """What it was asked, and how it answers."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    answer: Answer | None = None
    opened: bytes = OPENED
    closed: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, *parts: bytes, close: bool = True) -> None:
        """Answer with these bytes, one write each, and close the connection or leave it."""

        async def answer(writer: asyncio.StreamWriter) -> None:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if close:
                writer.close()

        self.answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self.answer is not None:
                await self.answer(writer)
                await reader.read()
                return
            host, _, port = head.split()[1].decode().rpartition(":")
            # Tests may ask for a name that only a proxy could know.
            host = "127.0.0.1" if host.endswith(".example") else host.strip("[]")
            there = await asyncio.open_connection(host, int(port))
            writer.write(self.opened)
            await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.closed += 1


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def tunnel_proxy() -> AsyncIterator[TunnelProxy]:
    proxy = TunnelProxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
