"""A client that sends and reads bytes: for what HTTP libraries hide (framing, HTTP/1.0, half-closes, resets)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from multidict import CIMultiDict


@dataclass
class RawConnection:
    """One connection to a gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        """Return what came up to and with a mark."""
        async with asyncio.timeout(20):
            return await self.reader.readuntil(mark)

    async def rest(self) -> bytes:
        """Return what comes until the connection's end, which must be in order: a reset is a ConnectionError."""
        async with asyncio.timeout(20):
            return await self.reader.read()

    async def answer(self) -> tuple[int, CIMultiDict[str], bytes]:
        """Return status, headers and body of an answer that ends with the connection, or has a Content-Length."""
        status, headers = parse_head(await self.until(b"\r\n\r\n"))
        length = headers.get("Content-Length")
        if length is None:
            return status, headers, await self.rest()
        async with asyncio.timeout(20):
            return status, headers, await self.reader.readexactly(int(length))

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def parse_head(head: bytes) -> tuple[int, CIMultiDict[str]]:
    line, *lines = head.decode().rstrip("\r\n").split("\r\n")
    headers: CIMultiDict[str] = CIMultiDict()
    for text in lines:
        name, _, value = text.partition(": ")
        headers.add(name, value)
    return int(line.split()[1]), headers


def dechunked(body: bytes) -> bytes:
    """Take chunk framing off; it must be complete."""
    parts = []
    while True:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        assert body[count : count + 2] == b"\r\n"
        if not count:
            assert body == b"\r\n"
            return b"".join(parts)
        parts.append(body[:count])
        body = body[count + 2 :]


def request_bytes(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request; a body gets its length."""
    lines = [f"{method} {target} HTTP/1.1", "Host: gateway.test", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@asynccontextmanager
async def connected(url: str, data: bytes = b"") -> AsyncIterator[RawConnection]:
    """Connect, and send."""
    target = urlsplit(url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port, limit=2**26)
    try:
        connection = RawConnection(reader, writer)
        await connection.send(data)
        yield connection
    finally:
        writer.transport.abort()
