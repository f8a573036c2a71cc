"""Playing frames to a client: at their moments, with flow control, stopped at once when the client leaves.

The schedule is absolute, so a late write does not delay the next. Two ways to write: aiohttp's response, and, for
headers that drip, the bare transport (then the body is ended by close). Who leaves is counted here, in one place.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from aiohttp import web

from gateway.simulator.directives import Directives
from gateway.simulator.frames import Frame
from gateway.simulator.observed import Stats

_BREATH = 32  # frames written without waiting before the other streams get their turn
_DROP = 0.005  # shorter sleeps are not kept by the event loop
_GZIP = 31  # zlib's window bits for the gzip format
_RESET = struct.pack("ii", 1, 0)  # linger for 0 s: close sends RST


class Output(Protocol):
    """Where an answer goes."""

    async def open(self) -> None:
        """Send status and headers."""

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client is slow."""

    def flush_headers(self) -> None:
        """Make sure that the headers are out, though no body follows."""


class ResponseOutput:
    """The usual way, through aiohttp."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response

    async def open(self) -> None:
        """Prepare the response; its headers leave with the first bytes."""
        await self._response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Write one piece."""
        await self._response.write(data)

    def flush_headers(self) -> None:
        """Send the headers alone."""
        self._request.writer.send_headers()


class DrippingOutput:
    """Status and headers in drops over ``seconds``; then the body as it comes, until the connection closes."""

    def __init__(self, request: web.Request, headers: Mapping[str, str], seconds: float) -> None:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        self._head = "\r\n".join(["HTTP/1.1 200 OK", *lines, "connection: close", "", ""]).encode()
        self._request = request
        self._seconds = seconds

    async def open(self) -> None:
        """Let the head drip: at each tick, the bytes that are due."""
        loop = asyncio.get_running_loop()
        started, sent = loop.time(), 0
        while sent < len(self._head):
            await asyncio.sleep(_DROP)
            share = (loop.time() - started) / self._seconds if self._seconds else 1.0
            due = max(sent + 1, int(share * len(self._head)))
            await self.write(self._head[sent:due])
            sent = due

    async def write(self, data: bytes) -> None:
        """Write one piece, unframed."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        transport.write(data)
        await self._request.writer.drain()

    def flush_headers(self) -> None:
        """They are out."""


class Player:
    """Plays one answer.

    Args:
        request: The request; its body must have been read, or a disconnect would not be noticed.
        started: Loop time from which the frames' moments count.
        stats: Where tokens and ends are counted.
    """

    def __init__(self, request: web.Request, started: float, stats: Stats) -> None:
        self._request = request
        self._started = started
        self._stats = stats
        self._loop = asyncio.get_running_loop()

    async def play(self, frames: Iterable[Frame], headers: dict[str, str], asked: Directives) -> web.StreamResponse:
        """Send the whole answer and return what aiohttp has to finish."""
        frames = gzipped(frames) if asked.gzip else frames
        if asked.gzip:
            headers = {**headers, "content-encoding": "gzip"}
        response = web.StreamResponse(headers=headers)
        output: Output = ResponseOutput(self._request, response)
        if asked.drip_headers is not None:
            output = DrippingOutput(self._request, headers, asked.drip_headers)
        with _watched(self._stats):
            await self._play(frames, output)
        if asked.drip_headers is not None:
            self._close()
        return response

    async def _play(self, frames: Iterable[Frame], output: Output) -> None:
        opened = False
        for number, frame in enumerate(frames, 1):
            await self._until(frame.at, breathe=number % _BREATH == 0)
            if not opened:
                await output.open()
                opened = True
            if frame.data:
                await output.write(frame.data)
                self._stats.tokens += frame.tokens
            if frame.end:
                await self._end(frame, output)
        if not opened:
            await output.open()

    async def _until(self, at: float, *, breathe: bool) -> None:
        delay = self._started + at - self._loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        elif breathe:
            await asyncio.sleep(0)

    async def _end(self, frame: Frame, output: Output) -> None:
        output.flush_headers()
        match frame.end:
            case "stall":
                await asyncio.Event().wait()
            case "cut":
                self._close()
            case _:
                self._reset()

    def _close(self) -> None:
        if self._request.transport is not None:
            self._request.transport.close()

    def _reset(self) -> None:
        transport = self._request.transport
        if transport is not None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()


def gzipped(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Compress each write and flush it, so that the moments stay."""
    squeeze = zlib.compressobj(wbits=_GZIP)
    at = 0.0
    for frame in frames:
        at = frame.at
        data = squeeze.compress(frame.data) + squeeze.flush(zlib.Z_SYNC_FLUSH) if frame.data else b""
        yield frame._replace(data=data)
        if frame.end:
            return
    yield Frame(at, squeeze.flush())


@contextmanager
def _watched(stats: Stats) -> Iterator[None]:
    """Count an answer while it is in flight, and if it comes to its end."""
    stats.active += 1
    try:
        yield
        stats.finished += 1
    finally:
        stats.active -= 1
