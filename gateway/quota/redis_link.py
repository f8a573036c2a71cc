"""Connections to Redis: few, each with one call at a time, and no retry that would hide how slow it is.

- redis-py knows the URL, TLS, the password and the protocol; its client is left out, because its way from a command to
  the connection costs as much again as the call (measured: 112 against 60 µs of CPU).
- No time limit of its own: whoever calls has one for the whole operation. A call that is given up closes its
  connection, so that no answer is taken for the next one's.
- A connection that the server closed while it was idle is no failure: the call is made once more on a new one. The
  store's steps may come twice. Nor is one to a server that takes no writes any more: after a failover the address leads
  to another one, and the old connections do not.
- Everything that goes wrong is :class:`~gateway.core.errors.StoreUnavailable`.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hiredis import pack_command
from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from gateway.core.errors import StoreUnavailable
from gateway.quota.failure import unavailable

Word = str | bytes | int
# Connections beside the others, for what those wait for.
_AHEAD = 2


def _is_replica(error: RedisError) -> bool:
    # Redis 6.2 says it of a script in a sentence of its own, which redis-py has no class for.
    return isinstance(error, ReadOnlyError) or "-READONLY " in str(error)


def _unavailable(error: Exception) -> StoreUnavailable:
    return unavailable(f"{type(error).__name__}: {error}")


class RedisLink:
    """A bounded number of connections to one server.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        most: Connections at most; more calls than that wait for one.
        prefix: Start of every key, within the hash tag: gateways with different ones share a server.
    """

    def __init__(self, url: str, most: int = 16, prefix: str = "tw") -> None:
        self.prefix = prefix
        # Only its parts are used: how to connect is its knowledge, who may is ours.
        self._pool = ConnectionPool.from_url(
            url, retry=Retry(NoBackoff(), 0), protocol=2, socket_timeout=None, socket_connect_timeout=None
        )
        self._room = asyncio.Semaphore(most)
        self._ahead = asyncio.Semaphore(_AHEAD)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._open)

    async def call(self, *words: Word, ahead: bool = False) -> Any:
        """Make one call.

        Raises:
            StoreUnavailable: It was not answered, or with an error.
            NoScriptError: The server does not have the script that was named.
        """
        return (await self.calls([words], ahead=ahead))[0]

    async def calls(self, commands: list[tuple[Word, ...]], *, ahead: bool = False) -> list[Any]:
        """Make several calls in one round trip; the first error among the answers is raised.

        Args:
            commands: The words of each.
            ahead: Do not wait behind calls that wait for these.
        """
        # hiredis takes a sequence of words; its types know a single one.
        packed = b"".join([pack_command(cast("tuple[str]", words)) for words in commands])
        async with self._ahead if ahead else self._room:
            try:
                replies = await self._exchange(packed, len(commands))
            except (RedisError, OSError) as error:
                raise _unavailable(error) from error
        for reply in replies:
            if isinstance(reply, NoScriptError):
                raise reply
            if isinstance(reply, Exception):
                raise _unavailable(reply)
        return replies

    async def _exchange(self, packed: bytes, answers: int) -> list[Any]:
        if self._idle:
            try:
                return await self._on(self._idle.pop(), packed, answers)
            except (RedisError, OSError):
                await self._drop_idle()  # what holds for this one holds for them too
        return await self._on(await self._connect(), packed, answers)

    async def _connect(self) -> Connection:
        connection = cast("Connection", self._pool.make_connection())  # type: ignore[no-untyped-call]
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._open.add(connection)
        return connection

    async def _on(self, connection: Connection, packed: bytes, answers: int) -> list[Any]:
        try:
            await connection.send_packed_command(packed, check_health=False)
            replies = [await self._answer(connection) for _ in range(answers)]
        except BaseException:
            await self._close(connection)
            raise
        self._idle.append(connection)
        return replies

    async def _answer(self, connection: Connection) -> Any:
        try:
            return await connection.read_response(disable_decoding=True)
        except RedisError as error:
            if connection.is_connected and not _is_replica(error):
                return error  # what the server said
            raise

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await self._close(connection)

    async def _close(self, connection: Connection) -> None:
        self._open.discard(connection)
        await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close all connections; calls under way fail."""
        self._idle.clear()
        while self._open:
            await self._open.pop().disconnect()
