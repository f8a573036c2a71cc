"""A client that makes one visit after the other, each as its visit says, over a connection that it keeps if it can."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from tools.soak.account import Account
from tools.soak.reader import Answer, Reader, understand
from tools.soak.visits import Crowd, Visit

# Seconds after which a visit is given up; every deadline of the soak's configuration is far below.
_PATIENCE = 60.0
# Who reads slowly reads nothing for so many seconds, so many times.
_NAP = 0.15
_NAPS = 20
# Who reads nothing has it that the kernel takes little for them.
_SMALL_BUFFER = 16 * 1024
# Wrong keys come from another address: past a few of them an address is not listened to for a while.
_ADDRESSES = {"bad": "127.0.0.2"}


class Visitor:
    """One of the crowd."""

    def __init__(self, port: int, keys: dict[str, str], crowd: Crowd, account: Account) -> None:
        self._port = port
        self._keys = keys
        self._crowd = crowd
        self._account = account
        self._kept: Reader | None = None
        self.leaving = False

    async def stay(self) -> None:
        """Make visits until told to leave; the one that runs is made to its end."""
        while not self.leaving:
            visit = self._crowd.next()
            await asyncio.sleep(visit.pause)
            self._account.begin(visit)
            self._account.end(visit, await self._visit(visit))
        self._drop()

    async def _visit(self, visit: Visit) -> Answer:
        try:
            reader = await self._connection(visit)
        except OSError as error:
            self._account.find(f"{visit.id} could not connect: {error}")
            return understand(visit.route, stream=visit.stream, status=None, body=b"", complete=False)
        reader.send(visit.request(self._keys))
        await self._behave(visit, reader)
        if reader.reusable and visit.credential != "bad":
            self._kept = reader
        else:
            reader.transport.abort()
        return understand(
            visit.route, stream=visit.stream, status=reader.status, body=bytes(reader.body), complete=reader.complete
        )

    async def _behave(self, visit: Visit, reader: Reader) -> None:
        match visit.behaviour:
            case "leaves":
                await _until(reader, visit.after)
                reader.transport.abort()
            case "half-closes":
                await _until(reader, visit.after)
                with contextlib.suppress(OSError, RuntimeError):
                    reader.transport.write_eof()
                await self._to_the_end(visit, reader)
                reader.reusable = False
            case "reads nothing":
                reader.transport.pause_reading()
                await asyncio.sleep(2 * _NAPS * _NAP)  # well above slow_client_timeout
            case "reads slowly":
                await self._slowly(reader)
                await self._to_the_end(visit, reader)
            case _:
                await self._to_the_end(visit, reader)

    async def _slowly(self, reader: Reader) -> None:
        for _ in range(_NAPS):
            if reader.finished.is_set():
                return
            reader.transport.pause_reading()
            await asyncio.sleep(_NAP)
            reader.transport.resume_reading()
            await asyncio.sleep(0)

    async def _to_the_end(self, visit: Visit, reader: Reader) -> None:
        if not await _until(reader, _PATIENCE):
            self._account.find(f"{visit} had no end after {_PATIENCE:g} s")
            reader.transport.abort()

    async def _connection(self, visit: Visit) -> Reader:
        kept, self._kept = self._kept, None
        small = visit.behaviour in {"reads nothing", "reads slowly"}
        if kept is not None and kept.reusable and visit.credential != "bad" and not small:
            return kept
        if kept is not None:
            kept.transport.abort()
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.bind((_ADDRESSES.get(visit.credential, "127.0.0.1"), 0))
            if small:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
            _, reader = await loop.create_connection(Reader, sock=sock)
        except BaseException:
            sock.close()
            raise
        return reader

    def _drop(self) -> None:
        if self._kept is not None:
            self._kept.transport.abort()


async def _until(reader: Reader, seconds: float) -> bool:
    """Wait for the end of the answer; False when the seconds are over first."""
    try:
        async with asyncio.timeout(seconds):
            await reader.finished.wait()
    except TimeoutError:
        return False
    return True
