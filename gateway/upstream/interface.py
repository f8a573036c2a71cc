"""What an upstream is to whoever asks it: Claude's own API over our connections, or a cloud's through Claude's SDK.

``pool.acquire`` gives a future of something to send on, ``send`` starts an exchange on it, and the exchange pushes the
answer's body to a sink as fast as the sink lets it. All of it is in Claude's own words, whatever the upstream speaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.core.call import Call
from gateway.upstream.connection import BodySink


class Exchange(Protocol):
    """One request and its answer.

    Attributes:
        head: Done when status and headers are there; fails with a GatewayError when they will not be.
        status: HTTP status.
        headers: Names in lower case.
        answered: Whether a byte of an answer has come.
        complete: Whether the answer has come to its end.
        reused: Whether the request may have been lost on a connection that had been idle, and closed, before.
    """

    head: asyncio.Future[None]
    status: int
    headers: dict[str, str]
    answered: bool
    complete: bool
    reused: bool

    def attach(self, sink: BodySink) -> None:
        """Give the body to the sink, beginning with what has come already."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """End it now, whatever its state; the sink is told nothing any more."""

    @property
    def hide(self) -> Callable[[bytes], bytes]:
        """What returns bytes of the answer's body without our credential; its headers hold none."""


class Connections(Protocol):
    """What requests are sent on."""

    @property
    def busy(self) -> int:
        """How many carry an exchange, or are being opened for one."""

    @property
    def idle(self) -> int:
        """How many wait for one."""

    def acquire(self, *, fresh: bool = False) -> asyncio.Future[Any]:
        """Return a future of a connection, or of a GatewayError; cancel it to give up."""

    def close(self) -> None:
        """Close every connection."""


class Upstream(Protocol):
    """Where Claude is asked."""

    @property
    def name(self) -> str:
        """Its name in logs and metrics."""

    @property
    def pool(self) -> Connections:
        """What its requests are sent on."""

    def send(self, connection: Any, call: Call, headers: Mapping[str, str]) -> Exchange:
        """Send a call on something that its pool gave."""
