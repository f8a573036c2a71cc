"""One worker: a fresh process, a channel to it, and the memory in which it counts.

A worker has a process group of its own: Ctrl-C in a terminal reaches the supervisor alone, which tells its workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from gateway.supervisor.channel import Channel, Message, pair
from gateway.supervisor.errors import StartFailed

# Pages that are not written take no memory, so it is more than metrics can ever need: some 400 000 series.
_MEMORY = 64 * 1024 * 1024

Told = Callable[["Member"], None]


class Member:
    """A worker, from its start to the last look at what it counted.

    Args:
        command: How to start the interpreter.
        config: A file with the configuration.
        number: What it is called in the log.
        place: Which of the workers it is, from 1 on; one that replaces it has the same.
        doors: The sockets that it may be told to take connections from.
        told: Called when it is about to end of its own accord.

    Attributes:
        pid: Its process.
        started: When, on the loop's clock.
        ready: Done when it can take connections, with what it depends on and how that is; fails when it cannot start,
            with the reason.
        gone: Done with the exit status when it has ended.
        leaving: Whether it finishes what it has and takes nothing new.
        dismissed: Whether it is killed before it had anything to do.
        unanswered: Questions since it said anything.
        memory: What it counts.
    """

    def __init__(
        self, command: list[str], config: int, number: int, place: int, doors: Sequence[socket.socket], told: Told
    ) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.started = loop.time()
        self.ready: asyncio.Future[dict[str, str]] = loop.create_future()
        self.ready.add_done_callback(_look)
        self.gone: asyncio.Future[int] = loop.create_future()
        self.leaving = False
        self.dismissed = False
        self.unanswered = 0
        self._doors = doors
        self._told = told
        self._asked: list[asyncio.Future[Message]] = []
        cells = os.memfd_create("tokenweir-metrics", os.MFD_CLOEXEC)
        ours, theirs = pair()
        try:
            os.ftruncate(cells, _MEMORY)
            self._map = mmap.mmap(cells, _MEMORY, access=mmap.ACCESS_READ)
            self.memory = memoryview(self._map)
            fds = (theirs.fileno(), config, cells)
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [*command, "-m", "gateway.cli.worker", str(place), *map(str, fds)],
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
                process_group=0,
            )
        finally:
            theirs.close()
            os.close(cells)
        self.pid = self._process.pid
        self._channel = Channel(ours, self._heard, lambda: None)

    @property
    def serving(self) -> bool:
        """Whether it takes connections."""
        return self.ready.done() and not self.ready.exception() and not self.leaving and not self.gone.done()

    def listen(self, door: int) -> None:
        """Have it take the connections of a socket."""
        self._channel.send("listen", [self._doors[door].fileno()], door=door)

    def leave(self, door: int) -> None:
        """Have it take no more of them."""
        self._channel.send("leave", door=door)

    def unready(self) -> None:
        """Have it say with each answer that the connection ends."""
        self._channel.send("unready")

    def drain(self, delay: float) -> None:
        """Have it finish what it has: connections may bring one more request within the delay."""
        self.leaving = True
        self._channel.send("drain", delay=delay)

    def stop(self) -> None:
        """Have it end at once, in order."""
        self.leaving = True
        self._channel.send("stop")

    def kill(self) -> None:
        """End it, in no order."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def ask(self) -> None:
        """Ask how it is; ``unanswered`` tells whether it says."""
        self.unanswered += 1
        self._channel.send("status")

    async def status(self, patience: float) -> Message | None:
        """Return what its event loop says of itself; None when it does not in time."""
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self.ask()
        either: set[asyncio.Future[Any]] = {answer, self.gone}
        await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() and not answer.cancelled() else None

    def ended(self, status: int) -> None:
        """Note that the process is over; ``close`` when its numbers were taken."""
        self._channel.read_rest()
        self._process.returncode = status
        for answer in self._asked:
            answer.cancel()
        if not self.ready.done():
            self.ready.set_exception(StartFailed(f"a worker ended while it started, with {in_words(status)}"))
        if not self.gone.done():
            self.gone.set_result(status)

    def close(self) -> None:
        """Give back everything."""
        self._channel.close()
        self.memory.release()
        self._map.close()

    def _heard(self, message: Message, _: list[int]) -> None:
        self.unanswered = 0
        if message["what"] == "status":
            for answer in self._asked:
                if not answer.done():
                    answer.set_result(message)
            self._asked.clear()
        elif message["what"] == "retiring":
            self._told(self)
        elif not self.ready.done():
            if message["what"] == "ready":
                self.ready.set_result(message["checks"])
            else:
                self.ready.set_exception(StartFailed(message["reason"]))


def in_words(status: int) -> str:
    """Say how a process ended."""
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _look(future: asyncio.Future[dict[str, str]]) -> None:
    """Keep asyncio from complaining of a failure that nobody waits for any more."""
    if not future.cancelled():
        future.exception()
