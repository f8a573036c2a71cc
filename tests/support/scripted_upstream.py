"""A Claude that does exactly what a test says, on a real socket, byte by byte.

A script is an async function that is given the connection and the request; the next request takes the next script, the
last script is used again and again. What the other side does (its bytes, its end) is recorded.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Script = Callable[["Peer"], Awaitable[None]]

SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nrequest-id: req_claude\r\n"
    b"anthropic-organization-id: org-secret\r\nanthropic-ratelimit-requests-limit: 50\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


@dataclass
class Received:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Peer:
    """The gateway's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: Received
    number: int

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def closed(self) -> None:
        """Wait until the gateway closes the connection."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        self.writer.transport.abort()


@dataclass
class ScriptedUpstream:
    url: str = ""
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)
    scripts: list[Script] = field(default_factory=list)

    def play(self, *scripts: Script) -> None:
        self.scripts = list(scripts)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.all_closed.clear()
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                await script(Peer(reader, writer, request, len(self.requests)))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open -= 1
            if not self.open:
                self.all_closed.set()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    line, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines if text)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(line, headers, body)


@asynccontextmanager
async def scripted_upstream(*scripts: Script, tls: ssl.SSLContext | None = None):
    upstream = ScriptedUpstream()
    upstream.play(*(scripts or (stream(HELLO),)))
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, ssl=tls, limit=2**26)
    port = server.sockets[0].getsockname()[1]
    upstream.url = f"http{'s' if tls else ''}://{'localhost' if tls else '127.0.0.1'}:{port}"
    try:
        yield upstream
    finally:
        server.close()


def stream(body: bytes, size: int = 0) -> Script:
    """Send an event stream whole, or in chunks of some size."""

    async def script(peer: Peer) -> None:
        await peer.send(SSE_HEAD)
        step = size or len(body)
        for start in range(0, len(body), step):
            await peer.chunk(body[start : start + step])
        await peer.end()

    return script


def answer(status: int, body: bytes, *headers: bytes) -> Script:
    """Send a whole answer."""

    async def script(peer: Peer) -> None:
        lines = b"".join(header + b"\r\n" for header in headers or (b"content-type: application/json",))
        head = b"HTTP/1.1 %d Status\r\nrequest-id: req_claude\r\ncontent-length: %d\r\n" % (status, len(body))
        await peer.send(head + lines + b"\r\n" + body)

    return script


def event(kind: str, rest: str = "") -> bytes:
    """Return one event as Claude writes it; ``rest`` is what follows the type, from the comma on."""
    return f'event: {kind}\ndata: {{"type":"{kind}"{rest}}}\n\n'.encode()


def text_delta(text: str) -> bytes:
    return event("content_block_delta", f',"index":0,"delta":{{"type":"text_delta","text":"{text}"}}')


START = event(
    "message_start",
    ',"message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-5-5","content":[],'
    '"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":12,"cache_creation_input_tokens":0,'
    '"cache_read_input_tokens":3,"output_tokens":1}}',
)
BLOCK = event("content_block_start", ',"index":0,"content_block":{"type":"text","text":""}')
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
END = (
    event("content_block_stop", ',"index":0')
    + event("message_delta", ',"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}')
    + event("message_stop")
)
HELLO = START + BLOCK + PING + text_delta("Hel") + text_delta("lo") + END
