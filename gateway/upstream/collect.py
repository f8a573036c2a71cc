"""A whole answer in memory, up to a limit."""

from __future__ import annotations

import asyncio
import zlib

from gateway.core.errors import GatewayError, UpstreamMalformed
from gateway.upstream.interface import Exchange

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class Collector:
    """Takes an answer's body and keeps it.

    Args:
        exchange: Whose body.
        limit: Most bytes, also after decompression.

    Attributes:
        done: Done at the end of the body; fails with a GatewayError.
    """

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self._exchange = exchange
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data(self, chunk: bytes) -> None:
        """Keep what one read brought, as long as all of it is below the limit."""
        self._size += len(chunk)
        if self._size > self._limit:
            self.fail(_too_large())
            self._exchange.abort()
            return
        self._parts.append(chunk)

    def end(self) -> None:
        """The body is complete."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: GatewayError) -> None:
        """The body will not be complete."""
        if not self.done.done():
            self._parts.clear()
            self.done.set_exception(error)
            self.done.exception()  # retrieved: whoever waits raises it, and nobody waits after an abort

    def body(self) -> bytes:
        """Return the body, once; decompressed if a proxy on the way compressed what we asked to have plain.

        Raises:
            UpstreamMalformed: The encoding is not gzip or deflate, or the body is too large or damaged.
        """
        self.done.result()
        body = b"".join(self._parts)
        self._parts.clear()  # the exchange keeps this until the request is over
        encoding = self._exchange.headers.get("content-encoding", "identity").lower()
        if encoding in {"", "identity"}:
            return body
        if encoding not in {"gzip", "deflate"}:
            raise UpstreamMalformed("Claude's answer is compressed in a way that was not asked for.")
        return self._decompress(body)

    def _decompress(self, body: bytes) -> bytes:
        inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            plain = inflater.decompress(body, self._limit + 1)
        except zlib.error as error:
            raise UpstreamMalformed("Claude's answer is compressed and damaged.", detail=str(error)) from error
        if len(plain) > self._limit:
            raise _too_large()
        if not inflater.eof:
            raise UpstreamMalformed("Claude's answer is compressed and damaged.", detail="it is cut off")
        return plain


def _too_large() -> UpstreamMalformed:
    error = UpstreamMalformed("Claude's answer is larger than this gateway takes.")
    error.retryable = False  # the next one would be, too, and Claude bills both
    return error
