"""Request bodies: read whole before anything else happens, within bounds of size, time and memory.

The room for a body whose length is known is taken before its first byte is read: of many large ones that come at once
some get through, instead of none. Where there is none left, it is refused before anything else is done for it.

A packed body is unpacked here, so that an encoding that is not taken is refused in the words of the route.
A body that is not read keeps aiohttp from noticing that the client has gone, so it is always read first.
"""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.core.errors import BodyTooLarge, InvalidRequest, Overloaded, RequestTimeout, UnsupportedMediaType

_BROKEN = "The request's body is incomplete or in a broken encoding."
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class BodyBudget:
    """Memory for all request bodies of this process together.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes held now."""
        return self._used

    def has_room(self, size: int) -> bool:
        """Return whether so much could be taken."""
        return self._used + size <= self._limit

    def take(self, size: int) -> None:
        """Take room.

        Raises:
            Overloaded: There is not enough.
        """
        if not self.has_room(size):
            raise self.refusal()
        self._used += size

    def refusal(self) -> Overloaded:
        """Return what a request is told for which there is no room."""
        message = "The gateway holds too many large requests. Try again shortly."
        return Overloaded(message, retry_after=1.0, limit="server.max_bodies")

    def give_back(self, size: int) -> None:
        """Give room back."""
        self._used -= size


class Body:
    """One request's body and the room that it takes.

    Args:
        budget: Where the room comes from.
        limit: Most bytes of this body.
    """

    def __init__(self, budget: BodyBudget, limit: int) -> None:
        self._budget = budget
        self._limit = limit
        self._room = 0  # taken from the budget
        self._size = 0  # read so far

    def admit(self, request: web.Request) -> None:
        """Return when the body can be read, as far as is known before.

        Raises:
            Overloaded: There is no room for its length.
        """
        length = request.content_length
        if length and length <= self._limit and not self._budget.has_room(length):
            raise self._budget.refusal()

    async def read(self, request: web.Request, seconds: float) -> bytes:
        """Return the whole body.

        Raises:
            BodyTooLarge: It is over the limit.
            Overloaded: All bodies together are over theirs.
            RequestTimeout: It did not arrive in time.
            InvalidRequest: Its framing or its encoding is broken.
            UnsupportedMediaType: Its encoding is not one that is taken.
        """
        if not request.body_exists:
            return b""
        inflater = _inflater(",".join(request.headers.getall("Content-Encoding", ())))
        if request.content_length is not None:
            self._check(request.content_length)
            self._take(request.content_length)
        elif request.headers.get("Transfer-Encoding", "").strip().lower() != "chunked":
            raise InvalidRequest("This Transfer-Encoding is not taken. Allowed: chunked alone.")
        try:
            if request.content.is_eof():  # it came with its head, as most do
                return self._end([self._part(request.content.read_nowait(), inflater)], inflater)
            async with asyncio.timeout(seconds):
                return await self._collect(request, inflater)
        except TimeoutError:
            raise RequestTimeout(f"The request's body did not arrive within {seconds:g} s.") from None
        except (web.RequestPayloadError, HttpProcessingError):
            raise InvalidRequest(_BROKEN) from None

    def release(self) -> None:
        """Give the room back."""
        self._budget.give_back(self._room)
        self._room = 0

    async def _collect(self, request: web.Request, inflater: zlib._Decompress | None) -> bytes:
        parts = [self._part(chunk, inflater) async for chunk in request.content.iter_any()]
        return self._end(parts, inflater)

    def _part(self, chunk: bytes, inflater: zlib._Decompress | None) -> bytes:
        """Return what a chunk holds, and take the room for it."""
        # Of an inflated chunk at most one byte more than is allowed is made, however much is in it.
        part = chunk if inflater is None else _inflated(inflater, chunk, self._limit - self._size + 1)
        self._size += len(part)
        self._check(self._size)
        if self._size > self._room:
            self._take(self._size - self._room)
        return part

    def _take(self, size: int) -> None:
        self._budget.take(size)
        self._room += size

    def _end(self, parts: list[bytes], inflater: zlib._Decompress | None) -> bytes:
        if inflater is not None and not inflater.eof:
            raise InvalidRequest(_BROKEN)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise BodyTooLarge(f"The request's body is over the limit of {self._limit} bytes.")


def _inflater(encoding: str) -> zlib._Decompress | None:
    """Return what unpacks a body, None for a plain one."""
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return None
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise UnsupportedMediaType("This Content-Encoding is not taken. Allowed: gzip, deflate, or none.")
    return zlib.decompressobj(_GZIP_OR_ZLIB)


def _inflated(inflater: zlib._Decompress, chunk: bytes, limit: int) -> bytes:
    try:
        return inflater.decompress(chunk, limit)
    except zlib.error:
        raise InvalidRequest(_BROKEN) from None
