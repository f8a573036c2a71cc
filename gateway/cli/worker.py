"""One of several workers: a gateway without an address of its own, which does what the supervisor says.

- It takes connections from the sockets that it is given, until they are taken from it.
- SIGINT and SIGHUP are for the supervisor. SIGTERM, from whoever thinks of one process alone, ends it in order: the
  supervisor is told and replaces it.
- A worker whose supervisor is gone finishes what it has and ends.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import socket
import stat
import sys
from functools import partial
from typing import Any

import structlog
import uvloop
from aiohttp import web

from gateway.app import assembled
from gateway.cli.collector import look_seldom
from gateway.config import Config
from gateway.core.cells import Cells
from gateway.database.errors import StoreError
from gateway.generation import Generation
from gateway.log import Log, configure_logging
from gateway.metrics.shared import Sampled, share
from gateway.supervisor.channel import Channel, Message
from gateway.supervisor.handover import content
from gateway.tasks import TaskOwner
from gateway.web.accept import raise_open_files

_STDOUT = 1
_CANNOT_START = 2
# What only a scrape would read is copied this often; at a kill so much of it is lost.
_SAMPLED_EVERY = 1.0
# Connections that a retiring worker holds may bring one more request for at least so long.
_LAST_REQUEST = 1.0

log = structlog.get_logger()


def main(place: int, control: int, config_fd: int, cells_fd: int) -> int:
    """Serve until told otherwise; return the exit code.

    Args:
        place: Which of the workers it is.
        control: The end of the channel to the supervisor.
        config_fd: A file with the configuration that was accepted.
        cells_fd: The memory in which this process counts.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    config = Config.model_validate(json.loads(content(config_fd)))
    cells = Cells(memoryview(mmap.mmap(cells_fd, 0)))
    os.close(config_fd)
    os.close(cells_fd)
    share(cells)
    written = configure_logging(config.log, tty=os.isatty(_STDOUT), fd=_own_output())
    raise_open_files(config.server)
    look_seldom()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(socket.socket(fileno=control), config, written, cells, place))
    finally:
        written.flush(config.log.flush_timeout)


async def _serve(control: socket.socket, config: Config, log_to: Log, cells: Cells, place: int) -> int:
    tasks = TaskOwner(lambda error: log.error("background task failed", exc_info=error))
    orders: asyncio.Queue[tuple[Message, list[int]]] = asyncio.Queue()
    # Nothing that ends a worker waits for a place in the queue of something else.
    channel = Channel(
        control,
        lambda message, fds: orders.put_nowait((message, fds)),
        lambda: orders.put_nowait(({"what": "drain", "delay": 0.0}, [])),
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, partial(orders.put_nowait, ({"what": "retire"}, [])))
    try:
        async with assembled(config, log_to) as generation:
            generation.services.metrics.place(place)
            sampled = Sampled(generation.services.metrics.registry, cells)
            sampled.copy()
            tasks.spawn(_sample(sampled))
            channel.send("ready", checks=generation.checks())
            await _Worker(config, generation, channel, tasks).obey(orders)
            await tasks.close()
        sampled.copy()
    except StoreError as error:
        channel.send("failed", reason=str(error))
        return _CANNOT_START
    finally:
        await tasks.close()
        channel.close()
    return 0


async def _sample(sampled: Sampled) -> None:
    while True:
        await asyncio.sleep(_SAMPLED_EVERY)
        await asyncio.to_thread(sampled.copy)


class _Worker:
    """Carries out orders."""

    def __init__(self, config: Config, generation: Generation, channel: Channel, tasks: TaskOwner) -> None:
        self._server = config.server
        self._generation = generation
        self._channel = channel
        self._tasks = tasks
        self._doors: dict[int, web.SockSite] = {}
        self._finishing: asyncio.Task[None] | None = None

    async def obey(self, orders: asyncio.Queue[tuple[Message, list[int]]]) -> None:
        """Do what comes until it is over."""
        while True:
            message, fds = await orders.get()
            match message["what"]:
                case "listen":
                    await self._listen(message["door"], socket.socket(fileno=fds[0]))
                case "leave":
                    await self._leave(message["door"])
                case "status":
                    self._generation.services.telling.flush()
                    self._channel.send("status", **self._status())
                case "unready":
                    self._generation.unready()
                case "retire":
                    self._channel.send("retiring")
                    await self._finish(max(self._server.drain_delay, _LAST_REQUEST), orders)
                case "drain":
                    await self._finish(message["delay"], orders)
                case _:  # stop, and the end of finishing
                    return

    async def _listen(self, door: int, sock: socket.socket) -> None:
        if self._finishing is None:
            self._doors[door] = await self._generation.public.accept(sock, self._server.backlog)
        else:
            sock.close()

    async def _leave(self, door: int) -> None:
        taken = self._doors.pop(door, None)
        if taken is not None:
            await taken.stop()

    def _status(self) -> dict[str, Any]:
        return {"checks": self._generation.checks(), "in_flight": len(self._generation.services.streams)}

    async def _finish(self, delay: float, orders: asyncio.Queue[tuple[Message, list[int]]]) -> None:
        if self._finishing is None:
            await self._generation.public.stop_accepting()
            self._doors.clear()
            self._finishing = self._tasks.spawn(self._generation.finish(delay, self._server.drain_grace))
            self._finishing.add_done_callback(lambda _: orders.put_nowait(({"what": "over"}, [])))


def _own_output() -> int:
    """Return standard output, opened anew where it is a pipe, so that a write to it never waits.

    A pipe that has room for a line may have none a moment later: the other workers write to it as well.
    """
    if stat.S_ISFIFO(os.fstat(_STDOUT).st_mode):
        try:
            return os.open(f"/proc/self/fd/{_STDOUT}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # nobody reads it any more, or there is no /proc
            return _STDOUT
    return _STDOUT


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
