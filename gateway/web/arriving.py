"""A request on its way to its call: until there is a job to be cut, what can be cut is the wait for its body."""

from __future__ import annotations

import asyncio
from typing import Self

from aiohttp import web

from gateway.core.errors import GatewayError
from gateway.web.streams import Streams


class Arriving:
    """While it is entered, the request can be ended with an error from outside.

    Args:
        streams: Where it can be cut.
        request: Whose handler this runs in.
    """

    held_bytes = 0  # its body is counted elsewhere
    principal = None  # who is shut out meanwhile is told so when the body is there

    def __init__(self, streams: Streams, request: web.Request) -> None:
        self._streams = streams
        self._task = request.task
        self._error: GatewayError | None = None

    def cut(self, error: GatewayError) -> None:
        """End it with an error, whatever it waits for."""
        if self._error is None:
            self._error = error
            self._task.cancel()

    def __enter__(self) -> Self:
        self._streams.running.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._streams.running.discard(self)
        if self._error is not None and kind is asyncio.CancelledError:
            self._task.uncancel()
            raise self._error from None
