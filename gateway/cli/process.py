"""One serving process: its event loop, its signals, its end.

- SIGTERM drains in full: unready for ``drain_delay``, then closed, then up to ``drain_grace`` for what is in flight.
- SIGINT (Ctrl-C) drains without the delay. SIGINT during a drain stops at once, whatever began it; what is in flight is
  told so. SIGTERM during a drain changes nothing: supervisors and shells send it to a process and to its group.
- A signal that comes while the gateway starts is obeyed when it has started.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import structlog
import uvloop

from gateway.app import Gateway, running
from gateway.cli.keystore import OperatorError
from gateway.config import Config
from gateway.identity.errors import IdentityError
from gateway.log import Log, configure_logging
from gateway.tasks import TaskOwner
from gateway.web.accept import raise_open_files, warn_of_few_files
from gateway.web.server import ListenError
from gateway.web.settings import ServerSettings

Announce = Callable[[Gateway], str]
Around = Callable[[Config], AbstractAsyncContextManager[Config]]

log = structlog.get_logger()


@asynccontextmanager
async def alone(config: Config) -> AsyncIterator[Config]:
    """Run nothing beside the gateway."""
    yield config


def run(config: Config, announce: Announce, around: Around = alone) -> None:
    """Serve until a signal; what keeps it from starting is one line on stderr and exit code 2.

    Args:
        config: The configuration.
        announce: Makes the text that is printed when the gateway serves.
        around: Runs beside the gateway, and may change the configuration for it.
    """
    written = configure_logging(config.log, tty=sys.stdout.isatty())
    raise_open_files(config.server)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, written, announce, around))
    except (ListenError, IdentityError) as error:
        raise OperatorError(str(error)) from error
    finally:
        written.flush(config.log.flush_timeout)


async def _serve(config: Config, log_to: Log, announce: Announce, around: Around) -> None:
    async with _signals() as signals, around(config) as final, running(final, log_to) as gateway:
        sys.stdout.write(announce(gateway) + "\n")
        sys.stdout.flush()
        warn_of_few_files(config.server)
        await _until_over(gateway, signals, config.server)


async def _until_over(gateway: Gateway, signals: asyncio.Queue[signal.Signals], server: ServerSettings) -> None:
    first = await signals.get()
    delay = server.drain_delay if first is signal.SIGTERM else 0.0
    tasks = TaskOwner(lambda error: log.error("the drain failed", exc_info=error))
    drain = tasks.spawn(gateway.drain(delay, server.drain_grace))
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
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(queue.put_nowait, number))
    try:
        yield queue
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
