"""One request to a cloud through Claude's SDK: a task that asks, and pushes the answer to a sink.

- The task reads only while somebody takes what it reads. Paused, it holds one read at most, and the HTTP library, which
  reads when it is asked to, another; then the kernel's buffer is full, and the cloud waits.
- What comes out is Claude's own protocol: events as server-sent events, errors in Claude's shape and with its statuses.
- ``abort`` ends the task at once, and with it the connection, because the cloud bills what it generates.
- Nothing of the cloud's own headers, and no credential, is in a refusal, a header or what is raised. A stream and a
  whole message are passed on as they came: who shows them hides what is in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Protocol

import httpx2

from gateway.core.errors import GatewayError, GatewayFault, UpstreamTruncated
from gateway.upstream.cloud_errors import body_of, headers_of, refusal_of
from gateway.upstream.connection import BodySink
from gateway.upstream.hiding import Secrets

_OK = 200
_FIRST_ERROR = 400
_EVENTS = "text/event-stream"
_JSON = "application/json"
_SIGNED = ("authorization", "x-amz-security-token")


class Frames(Protocol):
    """Turns the bytes of a cloud's stream into server-sent events.

    Attributes:
        failure: What is wrong with the bytes; nothing that comes after it is read.
    """

    failure: GatewayError | None

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that are complete with this chunk."""


class Whole:
    """Leaves the bytes as they are."""

    failure: GatewayError | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Return them."""
        return chunk


class CloudExchange:
    """One request and its answer.

    Args:
        ask: Sends the request; returns the response with its body unread, or raises GatewayError.
        stream: Media type of the cloud's streams and what reads them; None when no stream was asked for.
        max_refusal: Most bytes of an error's body.
        secrets: The credentials that are configured.

    Attributes:
        head: Done when status and headers are there; fails with a GatewayError when they will not be.
        status: HTTP status, Claude's for what the cloud said.
        headers: Names in lower case.
        answered: Whether an answer has begun.
        complete: Whether it has come to its end.
        reused: False: the HTTP library looks whether an idle connection is still there before it takes it.
        hide: Returns bytes of the answer without the credentials, those that it was signed with included.
        task: What asks and reads; set by who starts :meth:`run`.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[httpx2.Response]],
        stream: tuple[str, Callable[[], Frames]] | None,
        max_refusal: int,
        secrets: Collection[str],
    ) -> None:
        self._ask = ask
        self._stream = stream
        self._max_refusal = max_refusal
        self._secrets = secrets
        self.hide = Secrets(*secrets).hide
        self._sink: BodySink | None = None
        self._failure: GatewayError | None = None
        self._held = self._aborted = self._over = False
        self._open = asyncio.Event()
        self.head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.answered = False
        self.complete = False
        self.reused = False
        self.task: asyncio.Task[None] | None = None

    def attach(self, sink: BodySink) -> None:
        """Give the body to the sink, beginning with its first byte."""
        self._sink = sink
        if self._failure is not None:
            self._finish(self._failure)
        elif not self._held:
            self._open.set()

    def pause(self) -> None:
        """Stop reading."""
        self._held = True
        self._open.clear()

    def resume(self) -> None:
        """Read on."""
        self._held = False
        if self._sink is not None:
            self._open.set()

    def abort(self) -> None:
        """End the exchange now; the sink is told nothing any more."""
        self._aborted = True
        self._sink = None
        self.head.cancel()
        # Called by the sink, the task ends by itself: cancelled, it could not wait until its connection is closed.
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def stop(self) -> None:
        """End the exchange now, and tell the sink."""
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        """Ask, and push the answer; every error is the exchange's, and only a fault of ours is raised."""
        try:
            response = await self._ask()
            try:
                await self._take(response)
            finally:
                with suppress(httpx2.TransportError):
                    await response.aclose()
        except GatewayError as error:
            self._finish(error)
        except asyncio.CancelledError:
            self._finish(UpstreamTruncated("The connection to Claude ended in the middle of the answer."))
            raise
        except Exception:
            self._finish(GatewayFault("Something went wrong inside the gateway."))
            raise
        else:
            self._finish(None)

    async def _take(self, response: httpx2.Response) -> None:
        frames: Frames = Whole()
        status, kind = response.status_code, ""
        media_type = response.headers.get("content-type", "")
        if status >= _FIRST_ERROR:
            status, kind = refusal_of(status, response.headers.get("x-amzn-errortype", ""))
            media_type = _JSON
        elif self._stream is not None and media_type.partition(";")[0].strip().lower() == self._stream[0]:
            media_type, frames = _EVENTS, self._stream[1]()
        self._secrets = (*self._secrets, *_credentials(response.request))
        self.hide = Secrets(*self._secrets).hide
        self._begin(status, headers_of(response.headers, media_type))
        await self._open.wait()
        if kind:
            self.headers.pop("content-encoding", None)  # the body is ours, also where theirs cannot be read
            self._push(await self._refusal(response, status, kind))
            return
        await self._pull(response, frames)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.headers = {name: self.hide(value.encode()).decode() for name, value in headers.items()}
        self.status, self.answered = status, True
        if not self.head.done():
            self.head.set_result(None)

    async def _pull(self, response: httpx2.Response, frames: Frames) -> None:
        try:
            async for chunk in response.aiter_raw():
                data = frames.feed(chunk)
                await self._open.wait()
                if data:
                    self._push(data)
                if frames.failure is not None:
                    raise frames.failure
                if self._aborted:
                    return
                await self._open.wait()
        except httpx2.TransportError as error:
            # The text of some of these errors quotes what was read.
            text = "The connection to Claude ended in the middle of the answer."
            raise UpstreamTruncated(text, detail=type(error).__name__) from None

    async def _refusal(self, response: httpx2.Response, status: int, kind: str) -> bytes:
        body = b""
        with suppress(httpx2.TransportError):  # the status says enough
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._max_refusal:
                    break
        return body_of(body[: self._max_refusal], status, kind, self._secrets)

    def _push(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.data(data)

    def _finish(self, failure: GatewayError | None) -> None:
        """Tell whoever waits, once."""
        if failure is not None and not self.head.done():
            self.head.set_exception(failure)
            self.head.exception()  # retrieved: whoever waits raises it, and nobody waits after an abort
        self._failure = failure
        sink, self._sink = self._sink, None
        if sink is None or self._over:
            return
        self._over = True
        if failure is None:
            self.complete = True
            sink.end()
        else:
            sink.fail(failure)


class ToldExchange:
    """An answer that is given without asking anybody.

    Args:
        status: HTTP status.
        body: An error in Claude's shape.
    """

    def __init__(self, status: int, body: bytes) -> None:
        self._body = body
        self.head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.head.set_result(None)
        self.status = status
        self.headers = {"content-type": _JSON}
        self.answered = True
        self.complete = True
        self.reused = False
        self.hide = Secrets().hide  # what is told is ours

    def attach(self, sink: BodySink) -> None:
        """Give the body to the sink."""
        sink.data(self._body)
        sink.end()

    def pause(self) -> None:
        """Nothing is read."""

    def resume(self) -> None:
        """The same."""

    def abort(self) -> None:
        """Nothing runs."""


def _credentials(request: httpx2.Request) -> Collection[str]:
    """Return what the request was signed with, as far as it went over the wire."""
    sent = (request.headers.get(name, "") for name in _SIGNED)
    return tuple(value.removeprefix("Bearer ") for value in sent)
