"""What the crowd visits: the pretend Claude and the gateway before it, as real processes.

The gateway's deadlines are short, so that a stall or a client that reads nothing costs seconds, not minutes; nothing
else is different from production. Its log is read as it is written.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.bench.servers import (
    Server,
    ServerFailed,
    environment,
    free_port,
    listens,
    make_key,
    pinned,
    spawn,
    tokenweir,
)

CONFIG = """\
data_dir = "{directory}/data"

[server]
listen = "127.0.0.1:{port}"
ops_listen = "127.0.0.1:{ops}"
drain_delay = 0
slow_client_timeout = "2s"
keepalive_timeout = "5s"

[[upstreams]]
name = "first"
base_url = "http://127.0.0.1:{claude}"
api_key = "no-key-of-claude"

[[upstreams]]
name = "second"
base_url = "http://127.0.0.1:{claude}"
api_key = "another-key-of-claude"

[upstream]
idle_timeout = "2s"
chat_timeout = "30s"
total_timeout = "30s"
retry_budget = "5s"
keepalive_timeout = "5s"

[plans.default.per_key]
requests_per_minute = 1_000_000
concurrent_streams = 100_000

[plans.narrow]
requests_per_minute = 60
concurrent_streams = 2

[log]
format = "json"
"""
_PATIENCE = 30.0
_SAMPLE = re.compile(r"^(\w+)(\{[^}]*\})? (\S+)$", re.MULTILINE)
_LONGEST_LINE = 1024 * 1024


@dataclass
class World:
    """The processes and their addresses.

    Attributes:
        port: Where the gateway is.
        keys: The key of each credential.
    """

    gateway: asyncio.subprocess.Process
    claude: Server
    port: int
    ops: int
    keys: dict[str, str]

    async def metrics(self) -> dict[str, float]:
        """Return the gateway's metrics; of a name with labels the sum, and each with its labels."""
        found: dict[str, float] = {}
        for name, labels, number in _SAMPLE.findall((await get(self.ops, "/metrics")).decode()):
            found[name] = found.get(name, 0.0) + float(number)
            if labels:
                found[name + labels] = float(number)
        return found

    async def claudes_view(self) -> dict[str, Any]:
        """Return what the pretend Claude has seen."""
        return dict(json.loads(await get(self.claude.port, "/_sim/stats")))

    def reload(self) -> None:
        """Have the gateway read its configuration anew, which is the same, while everything goes on."""
        self.gateway.send_signal(signal.SIGHUP)

    async def stop(self) -> int:
        """Stop the gateway as an operator would; returns its exit code."""
        if self.gateway.returncode is None:
            self.gateway.terminate()
        async with asyncio.timeout(_PATIENCE):
            return await self.gateway.wait()


@asynccontextmanager
async def world(directory: Path, core: int | None, read: Callable[[bytes], None]) -> AsyncIterator[World]:
    """Run both; every line that the gateway writes is given to ``read``.

    Raises:
        ServerFailed: One of them does not start.
    """
    claude = await _claude(directory)
    try:
        port, ops = free_port(), free_port()
        config = directory / "gateway.toml"
        config.write_text(CONFIG.format(directory=directory, port=port, ops=ops, claude=claude.port))
        good = make_key(config, "soak")
        keys = {"good": good, "narrow": make_key(config, "narrow", "narrow"), "bad": good[:-1] + _other(good[-1])}
        gateway = await asyncio.create_subprocess_exec(
            *pinned(tokenweir(config, "serve"), core), cwd=directory, env=environment(), limit=_LONGEST_LINE,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            group.create_task(_reading(gateway, read))
            try:
                await _answering(gateway, port)
                yield World(gateway, claude, port, ops, keys)
            finally:
                if gateway.returncode is None:
                    gateway.kill()
    finally:
        await claude.stop()


async def _claude(directory: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "gateway", "simulate", "--listen", f"127.0.0.1:{port}"]
    server = Server(port, spawn(command, directory / "claude.log", None), directory / "claude.log")
    await _answering(server, port)
    return server


async def _answering(process: asyncio.subprocess.Process | Server, port: int) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            while not await listens(port):
                if isinstance(process, asyncio.subprocess.Process) and process.returncode is not None:
                    raise ServerFailed("the gateway did not start; its last words are above")
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise ServerFailed(f"nobody listens on port {port}") from None


async def _reading(gateway: asyncio.subprocess.Process, read: Callable[[bytes], None]) -> None:
    if gateway.stdout is None:
        raise ServerFailed("the gateway has no output to read")
    while line := await gateway.stdout.readline():
        read(line)


async def get(port: int, path: str) -> bytes:
    """Return the body of a GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(_PATIENCE):
        answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


def _other(character: str) -> str:
    return "0" if character != "0" else "1"
