"""One serving process: its event loop, its signals, its end.

- SIGTERM drains in full: unready for ``drain_delay``, then closed, then up to ``drain_grace`` for what is in flight.
- SIGINT (Ctrl-C) drains without the delay; a second signal stops at once.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import uvloop

from gateway.app import Gateway, running
from gateway.cli.keystore import OperatorError
from gateway.config import Config
from gateway.identity.errors import IdentityError
from gateway.log import Log, configure_logging
from gateway.tasks import TaskOwner
from gateway.web.server import ListenError

Announce = Callable[[Gateway], str]
Around = Callable[[Config], AbstractAsyncContextManager[Config]]


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
    log = configure_logging(config.log, tty=sys.stdout.isatty())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, log, announce, around))
    except (ListenError, IdentityError) as error:
        raise OperatorError(str(error)) from error
    finally:
        log.flush()


async def _serve(config: Config, log: Log, announce: Announce, around: Around) -> None:
    async with _signals() as signals, around(config) as final, running(final, log) as gateway:
        sys.stdout.write(announce(gateway) + "\n")
        sys.stdout.flush()
        first = await signals.get()
        delay = config.server.drain_delay if first is signal.SIGTERM else 0.0
        tasks = TaskOwner(lambda _: None)
        try:
            await asyncio.wait(
                {
                    tasks.spawn(gateway.drain(delay, config.server.drain_grace)),
                    tasks.spawn(signals.get()),
                },
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            await tasks.close()


@asynccontextmanager
async def _signals() -> AsyncIterator[asyncio.Queue[Any]]:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Any] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(queue.put_nowait, number))
    try:
        yield queue
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
