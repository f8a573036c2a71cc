"""What a request leaves behind, however it ended: one outcome, and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.gateway import Caller
from tests.support.observed import PATIENCE, Outcomes

# Whose tasks are looked for: the gateway's own, and the server's under its connections.
_OURS = ("/gateway/", "/aiohttp/web_")


@asynccontextmanager
async def nothing_left(caller: Caller, outcomes: Outcomes, requests: int = 1) -> AsyncIterator[None]:
    """Wait until a gateway is as it was before the block, and see that each request in it had exactly one outcome.

    What the block opened at its own end must be closed when it ends.
    """
    services = caller.gateway.services
    counted, tasks, sockets = len(outcomes.all), _tasks(), _sockets(services)
    yield
    await outcomes.reach(counted + requests)
    try:
        async with asyncio.timeout(PATIENCE):
            while _leftovers(services, tasks, sockets):  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.002)
    except TimeoutError:
        left = _leftovers(services, tasks, sockets)
        assert not left, left
    told = [outcome.request_id for outcome in outcomes.all]
    assert len(told) == len(set(told)) == counted + requests


def _leftovers(services: Any, tasks: set[asyncio.Task[Any]], sockets: int) -> dict[str, Any]:
    streams = services.streams
    found = {
        "held slots": services.holds.held,
        "requests in flight": len(streams),
        "answers": len(streams.running),
        "renewed holds": len(streams.holds),
        "bytes of bodies": services.bodies.used,
        "bytes for clients": streams.held_bytes(),
        "connections in use": sum(upstream.pool.busy for upstream in services.upstreams),
        "tasks": [task for task in _tasks() - tasks if not task.done()],
        "sockets": max(0, _sockets(services) - sockets),
    }
    return {name: value for name, value in found.items() if value}


def _tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if any(part in _file_of(task) for part in _OURS)}


def _file_of(task: asyncio.Task[Any]) -> str:
    code = getattr(task.get_coro(), "cr_code", None)
    return code.co_filename if code is not None else ""


def _sockets(services: Any) -> int:
    """Count open sockets, without both ends of the connections that the gateway keeps for later."""
    idle = sum(upstream.pool.idle for upstream in services.upstreams)
    return sum(map(_is_socket, Path("/proc/self/fd").iterdir())) - 2 * idle


def _is_socket(open_file: Path) -> bool:
    try:
        return str(open_file.readlink()).startswith("socket:")
    except OSError:  # closed meanwhile
        return False


def memory() -> int:
    """Return the process's resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
