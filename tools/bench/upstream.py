"""A Claude that costs next to nothing: every request gets the same script, at the script's pace.

- One write to the kernel per event, as Claude's edge does; only what the kernel does not take is buffered.
- A departure is noticed at once, also in silence, and its moment is kept.
- It runs in the process and on the event loop of the load generator, so that both read the same clock and the core
  that they share does nothing else.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field

import httptools

_SSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
_START = (
    b'{"type":"message_start","message":{"id":"msg_bench","type":"message","role":"assistant","model":"%b","content":[],'
    b'"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":12,"cache_creation_input_tokens":0,'
    b'"cache_read_input_tokens":0,"output_tokens":1}}}'
)
_BLOCK = b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'
_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
)
_DELTA_END = b'"}}\n\n'
_STOP = b'{"type":"content_block_stop","index":0}'
_USAGE = (
    b'{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":%d}}'
)
# Tokens in a row at full speed, before the other streams and the clients get their turn.
_TURN = 32


@dataclass(frozen=True, slots=True)
class Script:
    """What every answer is.

    Attributes:
        tokens: How many.
        interval: Seconds between two; 0 is full speed.
        first: Seconds before the first.
        pad: Bytes that a token is filled up to.
    """

    tokens: int
    interval: float = 0.0
    first: float = 0.0
    pad: int = 0


@dataclass
class Upstream:
    """What all connections share, and what they have seen.

    Attributes:
        script: What requests are answered with from now on.
        departures: When clients left before the end, by the monotonic clock.
        completed: Answers that were sent to their end.
        connections: Those whose answer runs.
    """

    script: Script
    model: bytes = b"claude-sonnet-5-5"
    departures: list[float] = field(default_factory=list)
    completed: int = 0
    connections: set[Answer] = field(default_factory=set)

    @property
    def accepted(self) -> int:
        """Bytes of the answers that run which the kernel has taken."""
        return sum(answer.accepted for answer in self.connections)


class Answer(asyncio.Protocol):
    """One connection."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._script = upstream.script
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._pad = b""
        self._number = 0
        self._due = 0.0
        self._written = 0
        self._paused = False
        self._timer: asyncio.Handle | None = None

    @property
    def accepted(self) -> int:
        """Bytes of this answer that the kernel has taken."""
        return self._written - self._transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # always a TCP connection's
        """Keep the transport, and have it pause at the first byte that the kernel does not take."""
        self._transport = transport
        self._descriptor = transport.get_extra_info("socket").fileno()
        transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        """Read requests."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Begin the answer; a parser's callback."""
        self._script = self._upstream.script
        self._pad = b"x" * self._script.pad
        self._number = self._written = 0
        self._upstream.connections.add(self)
        start = _event(b"message_start", _START % self._upstream.model)
        self._send(_SSE + start + _event(b"content_block_start", _BLOCK) + _event(b"ping", b'{"type": "ping"}'))
        self._due = self._loop.time() + self._script.first
        self._timer = self._loop.call_at(self._due, self._go_on)

    def pause_writing(self) -> None:
        """The client is slower."""
        self._paused = True

    def resume_writing(self) -> None:
        """It is not any more."""
        self._paused = False
        if self in self._upstream.connections and not self._script.interval:
            self._go_on()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Note who leaves in the middle."""
        if self._timer is not None:
            self._timer.cancel()
        if self in self._upstream.connections:
            self._upstream.connections.discard(self)
            self._upstream.departures.append(time.monotonic())

    def _go_on(self) -> None:
        script = self._script
        if not script.interval:
            self._at_full_speed()
        elif self._number < script.tokens:
            self._send(self._token())
            self._due += script.interval
            self._timer = self._loop.call_at(self._due, self._go_on)
        else:
            self._end()

    def _at_full_speed(self) -> None:
        for _ in range(_TURN):
            if self._paused:
                return
            if self._number == self._script.tokens:
                self._end()
                return
            self._send(self._token())
        self._timer = self._loop.call_soon(self._go_on)

    def _token(self) -> bytes:
        text = b"%d:%d|%b " % (self._number, time.monotonic_ns(), self._pad)
        self._number += 1
        return _chunk(_DELTA + text + _DELTA_END)

    def _end(self) -> None:
        self._upstream.connections.discard(self)
        self._upstream.completed += 1
        usage = _event(b"message_delta", _USAGE % self._script.tokens)
        stop = _event(b"message_stop", b'{"type":"message_stop"}')
        self._send(_event(b"content_block_stop", _STOP) + usage + stop + b"0\r\n\r\n")

    def _send(self, data: bytes) -> None:
        """Write now: the loop would gather what one of its turns writes, and Claude's events come one by one."""
        self._written += len(data)
        sent = 0
        if not self._transport.get_write_buffer_size():
            try:
                sent = os.write(self._descriptor, data)
            except BlockingIOError:
                pass
            except OSError:
                return  # it has left, as connection_lost is about to say
        if sent < len(data):
            self._transport.write(data[sent:])


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def _event(name: bytes, data: bytes) -> bytes:
    return _chunk(b"event: %b\ndata: %b\n\n" % (name, data))
