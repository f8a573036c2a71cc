"""A real Redis, or Valkey, as a process of the test: it can be frozen, killed and started anew."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import redis

PATIENCE = 30.0
SERVER = shutil.which("redis-server") or shutil.which("valkey-server")
MISSING = "no Redis here; `make test` installs it"


class RedisServer:
    """One server on a socket of its own, without anything on disk.

    Attributes:
        socket: Where it listens.
        url: As a client is told it.
    """

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "redis.sock"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self.socket}"

    def start(self, *options: str) -> None:
        """Start it, empty, and wait until it answers."""
        assert SERVER is not None
        command = [SERVER, "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [*command, "--daemonize", "no", *options], cwd=self._directory, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"eady to accept connections" in line:
                return
        raise AssertionError("it did not start")

    def freeze(self) -> None:
        """Have it neither answer nor close anything."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGKILL)
            self._process.wait(PATIENCE)
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    def ask(self, *words: str | int):
        """Ask it something, as an operator would."""
        with redis.Redis(unix_socket_path=str(self.socket), decode_responses=True) as client:
            return client.execute_command(*words)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextmanager
def redis_server(directory: Path, *options: str) -> Iterator[RedisServer]:
    """Run a server."""
    server = RedisServer(directory)
    server.start(*options)
    try:
        yield server
    finally:
        server.kill()


class LateAnswers:
    """A way to a server on which answers can be held back: what is asked is done, and nobody hears of it.

    Attributes:
        url: As a client is told it.
        answered: Cleared, answers wait until it is set again.
    """

    def __init__(self, server: RedisServer, directory: Path) -> None:
        self._server = server
        self._socket = directory / "late.sock"
        self._listening: asyncio.Server | None = None
        self._ways: set[asyncio.Task[None]] = set()
        self.url = f"unix://{self._socket}"
        self.answered = asyncio.Event()
        self.answered.set()

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_unix_server(self._connected, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listening is not None
        self._listening.close()
        for way in tuple(self._ways):
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_unix_connection(self._server.url.removeprefix("unix://"))
        loop = asyncio.get_running_loop()
        for way in (self._carry(reader, behind[1], None), self._carry(behind[0], writer, self.answered)):
            task = loop.create_task(way)
            self._ways.add(task)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None
    ) -> None:
        try:
            while data := await reader.read(65536):
                if gate is not None:
                    await gate.wait()
                writer.write(data)
        finally:
            writer.close()
