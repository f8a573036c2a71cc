"""The process that starts and watches the workers: its signals, its end.

- SIGTERM drains in full, SIGINT without the delay, SIGINT during a drain stops at once.
- SIGHUP reloads; when it says that the terminal is gone, it is as SIGINT.
- It imports little, so that it stays small: no web framework, no configuration, no database.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial

from gateway.supervisor.children import Children
from gateway.supervisor.errors import StartFailed
from gateway.supervisor.group import Group
from gateway.supervisor.handover import Handover, read
from gateway.supervisor.journal import Journal
from gateway.supervisor.ops import Ops
from gateway.supervisor.sockets import address_of, bound
from gateway.tasks import TaskOwner

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_STDOUT = 1
_CANNOT_START = 2

Signals = asyncio.Queue[signal.Signals]


def main(fd: int) -> int:
    """Run until a signal; return the exit code.

    Args:
        fd: Where the configuration was written; signals are blocked by whoever became this.
    """
    handover = read(fd)
    os.close(fd)
    journal = Journal()
    journal.configure(handover.log_format, handover.level)
    try:
        asyncio.run(_supervise(handover, journal))
    except StartFailed as error:
        sys.stderr.write(f"error: {error}\n")
        return _CANNOT_START
    return 0


async def _supervise(handover: Handover, journal: Journal) -> None:
    children = Children()
    signals = _listen(children)
    async with AsyncExitStack() as stack:
        tasks = TaskOwner(journal.fault)
        group = Group(handover, journal, children)
        ops = Ops(group, journal.fault)
        stack.push_async_callback(ops.close)
        stack.push_async_callback(group.close)
        stack.push_async_callback(tasks.close)
        sock = bound(handover.ops_listen, handover.addresses[1], "--ops-listen")
        await ops.serve(sock)
        started = tasks.spawn(group.start())
        first = tasks.spawn(_last_signal(group, signals, tty=os.isatty(_STDOUT)))
        await asyncio.wait({first, started}, return_when=asyncio.FIRST_COMPLETED)
        if started.done() and (reason := await started) is not None:
            raise StartFailed(reason)
        if started.done():
            ops_address = address_of(sock.getsockname())
            greeting = handover.greeting.replace("{address}", group.doors.address)
            journal.say(greeting.replace("{ops_address}", ops_address))
        number = await first
        # Nobody has been served yet while they start, so nobody has to be told.
        await _end(group, signals, tasks, handover.drain_delay if number is signal.SIGTERM and started.done() else 0.0)


def _listen(children: Children) -> Signals:
    """Take all signals from now on."""
    loop = asyncio.get_running_loop()
    signals: Signals = asyncio.Queue()
    for number in SIGNALS:
        loop.add_signal_handler(number, partial(signals.put_nowait, number))
    loop.add_signal_handler(signal.SIGCHLD, children.reap)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return signals


async def _last_signal(group: Group, signals: Signals, *, tty: bool) -> signal.Signals:
    """Reload until a signal comes that ends everything; return it."""
    while (number := await signals.get()) is signal.SIGHUP and not (tty and not os.isatty(_STDOUT)):
        group.reload()
    return number


async def _end(group: Group, signals: Signals, tasks: TaskOwner, delay: float) -> None:
    """Drain, or stop when SIGINT says so."""
    drain = tasks.spawn(group.drain(delay))
    interrupt = tasks.spawn(_interrupted(signals))
    await asyncio.wait({drain, interrupt}, return_when=asyncio.FIRST_COMPLETED)
    if not drain.done():
        drain.cancel()
        await group.stop()


async def _interrupted(signals: Signals) -> None:
    while await signals.get() is not signal.SIGINT:
        pass
