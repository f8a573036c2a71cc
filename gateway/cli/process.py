"""One serving process: its event loop, its signals, its end.

- SIGTERM drains in full: unready for ``drain_delay``, then closed, then up to ``drain_grace`` for what is in flight.
- SIGINT (Ctrl-C) drains without the delay. SIGINT during a drain stops at once, whatever began it; what is in flight is
  told so. SIGTERM during a drain changes nothing: supervisors and shells send it to a process and to its group.
- SIGHUP reloads the configuration; when it says that the terminal is gone, it is as SIGINT.
- A signal that comes while the gateway starts is obeyed when it has started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import structlog
import uvloop

from gateway.app import running
from gateway.cli.collector import look_seldom
from gateway.cli.errors import OperatorError
from gateway.cli.reload import Reloads
from gateway.config import Config
from gateway.database.errors import StoreError
from gateway.generation import Gateway
from gateway.log import Log, configure_logging
from gateway.tasks import TaskOwner
from gateway.web.accept import raise_open_files, tell_of_few_files
from gateway.web.server import ListenError

Announce = Callable[[Gateway], str]
Around = Callable[[Config], AbstractAsyncContextManager[Config]]

_STDOUT = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = structlog.get_logger()


@asynccontextmanager
async def alone(config: Config) -> AsyncIterator[Config]:
    """Run nothing beside the gateway."""
    yield config


def same() -> Config:
    """Refuse to reload.

    Raises:
        OperatorError: Always.
    """
    raise OperatorError("this command keeps the configuration that it began with")


def run(config: Config, announce: Announce, around: Around = alone, reread: Callable[[], Config] = same) -> None:
    """Serve until a signal; what keeps it from starting is one line on stderr and exit code 2.

    Args:
        config: The configuration.
        announce: Makes the text that is printed when the gateway serves.
        around: Runs beside the gateway, and may change the configuration for it.
        reread: Reads the configuration anew for a reload; raises OperatorError where it cannot be served with.
    """
    written = configure_logging(config.log, tty=os.isatty(_STDOUT))
    raise_open_files(config.server)
    look_seldom()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, written, announce, around, reread))
    except (ListenError, StoreError) as error:
        raise OperatorError(str(error)) from error
    finally:
        written.flush(config.log.flush_timeout)


async def _serve(config: Config, log_to: Log, announce: Announce, around: Around, reread: Callable[[], Config]) -> None:
    tty = os.isatty(_STDOUT)
    async with _signals() as signals, around(config) as final, running(final, log_to) as gateway:
        sys.stdout.write(announce(gateway) + "\n")
        sys.stdout.flush()
        tell_of_few_files(config.server)
        reloads = Reloads(gateway, final, reread, tty=tty)
        try:
            first = await _last_signal(signals, reloads, tty=tty)
        finally:
            await reloads.close()
        await _until_over(gateway, signals, gateway.services.server.drain_delay if first is signal.SIGTERM else 0.0)


async def _last_signal(signals: asyncio.Queue[signal.Signals], reloads: Reloads, *, tty: bool) -> signal.Signals:
    """Reload until a signal comes that ends everything; return it."""
    while (number := await signals.get()) is signal.SIGHUP and not (tty and not os.isatty(_STDOUT)):
        reloads.want()
    return number


async def _until_over(gateway: Gateway, signals: asyncio.Queue[signal.Signals], delay: float) -> None:
    tasks = TaskOwner(lambda error: log.error("the drain failed", exc_info=error))
    drain = tasks.spawn(gateway.drain(delay))
    interrupt = tasks.spawn(_interrupted(signals))
    try:
        await asyncio.wait({drain, interrupt}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await tasks.close()


async def _interrupted(signals: asyncio.Queue[signal.Signals]) -> None:
    while await signals.get() is not signal.SIGINT:
        pass


@asynccontextmanager
async def _signals() -> AsyncIterator[asyncio.Queue[signal.Signals]]:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in _SIGNALS:
        loop.add_signal_handler(number, partial(queue.put_nowait, number))
    try:
        yield queue
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
