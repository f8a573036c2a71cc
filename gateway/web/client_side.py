"""The client's end of a stream, on aiohttp's public hooks: its transport, and its protocol's flow control.

- HTTP/1.1 gets the chunks framed by hand, one write each; HTTP/1.0 gets them bare, and the connection's end ends them.
- What waits for a slow client is at most the write buffer, one read of the upstream's, and the kernel's send buffer.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter


class ClientSide:
    """One prepared streaming response.

    Args:
        request: The request; its connection must still be there.
        writer: What ``response.prepare`` returned.
        high_water: Bytes waiting at which writing counts as paused.
        chunked: Whether chunks are framed.
    """

    def __init__(self, request: web.Request, writer: AbstractStreamWriter, high_water: int, *, chunked: bool) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        transport.set_write_buffer_limits(high=high_water)
        self._transport: asyncio.Transport = transport
        self._protocol = request.protocol
        self._writer = writer
        self._chunked = chunked

    @property
    def writing_paused(self) -> bool:
        """Whether the high-water mark was passed."""
        return self._protocol.writing_paused

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Send."""
        if not self._transport.is_closing():
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def drain(self) -> None:
        """Wait until the low-water mark is reached."""
        await self._writer.drain()

    def abort(self) -> None:
        """Reset the connection; what waits is dropped."""
        self._transport.abort()
