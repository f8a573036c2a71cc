"""The client's end of a stream, on aiohttp's public hooks: its transport, and its protocol's flow control.

- HTTP/1.1 gets the chunks framed by hand, one write each; HTTP/1.0 gets them bare, and the connection's end ends them.
- The head of the answer goes out with the first bytes, in one packet, or when ``send_head`` is called.
- What waits for a slow client is at most the write buffer, one read of the upstream's, and the kernel's send buffer.
- Its progress is what its side has acknowledged: the kernel asks us for more only when a third of its buffer is free,
  which a client of a few KB a second does not reach in the time in which it may take nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

_NO_LINGER = struct.pack("ii", 1, 0)
_INT = struct.Struct("i")
_SMALL = 4096
_CLOSE_WAIT = 8  # of the states in the first byte of Linux's TCP_INFO


class ClientSide:
    """One prepared streaming response.

    Args:
        request: The request; its connection must still be there.
        writer: What ``response.prepare`` returned.
        high_water: Bytes waiting at which writing counts as paused.
        chunked: Whether chunks are framed.

    Attributes:
        kept: What is to be sent with the end, in one packet.
    """

    __slots__ = ("_chunked", "_head_waits", "_high_water", "_protocol", "_transport", "_writer", "kept")

    def __init__(self, request: web.Request, writer: AbstractStreamWriter, high_water: int, *, chunked: bool) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        transport.set_write_buffer_limits(high=high_water)
        self._transport: asyncio.Transport = transport
        self._protocol = request.protocol
        self._writer = writer
        self._high_water = high_water
        self._chunked = chunked
        self._head_waits = True
        self.kept = b""

    @property
    def held_bytes(self) -> int:
        """Bytes that the kernel has not taken from us yet."""
        return self._transport.get_write_buffer_size() + len(self.kept)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the client's side has not acknowledged yet, ours and the kernel's."""
        return waiting_bytes(self._transport)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes can be written without a wait, and the head and the framing with them."""
        waiting = self._transport.get_write_buffer_size() + size
        return not self._protocol.writing_paused and waiting < self._high_water // 2

    def write(self, data: bytes, *, last: bool = False) -> bool:
        """Send; return whether the high-water mark is passed. What is small is kept for the end that follows."""
        if last and len(self.kept) + len(data) <= _SMALL:
            self.kept += data
            return False
        if self.kept:
            data, self.kept = self.kept + data, b""
        transport = self._transport
        if not transport.is_closing() and not (self._head_waits and self._took_head_and(data)):
            transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        return self._protocol.writing_paused

    def send_kept(self) -> None:
        """Send what was kept for the end, which does not follow yet, and the head before it."""
        if self.kept:
            self.write(b"")
        self.send_head()

    def send_head(self) -> None:
        """Send the head of the answer, unless it has been sent."""
        if self._head_waits:
            self._head_waits = False
            self._writer.send_headers()

    def _took_head_and(self, data: bytes) -> bool:
        """Send the head, and with it what is small enough for the same packet."""
        if len(data) > _SMALL:
            self.send_head()
            return False
        self._head_waits = False
        with suppress(StopIteration):  # nothing is awaited: the writer waits only above 64 KiB
            self._writer.write(data).send(None)
        return True

    async def drain(self) -> None:
        """Wait until the low-water mark is reached."""
        await self._writer.drain()

    def abort(self) -> None:
        """Reset the connection, also one that is being closed; what waits is dropped."""
        drop(self._transport)


def reset(transport: asyncio.Transport | None) -> None:
    """End a connection so that the client can tell it from an end in order: with a reset, where it is still there."""
    if transport is not None and not transport.is_closing():
        drop(transport)


def drop(transport: asyncio.Transport) -> None:
    """Reset a connection, also one that is being closed and waits for its client to take the rest."""
    sock = transport.get_extra_info("socket")
    with suppress(AttributeError, OSError):  # it is closed already
        # Else the kernel would send what it has and then close in order: over HTTP/1.0 the end of a good answer.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def is_secured(transport: asyncio.BaseTransport) -> bool:
    """Whether a connection speaks TLS with the gateway itself."""
    return transport.get_extra_info("sslcontext") is not None


def has_ended(transport: asyncio.BaseTransport) -> bool:
    """Whether the kernel knows that the other side sends nothing more, and has not been told to close the connection."""
    try:
        state = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except (AttributeError, OSError):
        return False
    return int(state) == _CLOSE_WAIT


def waiting_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes that a client's side has not acknowledged yet, ours and the kernel's."""
    return transport.get_write_buffer_size() + _unacknowledged(transport)


def _unacknowledged(transport: asyncio.Transport) -> int:
    try:
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(_INT.size))
    except (OSError, ValueError):  # closed meanwhile, or a system that cannot say
        return 0
    return int(_INT.unpack(answer)[0])
