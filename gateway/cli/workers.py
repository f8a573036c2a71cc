"""From a configuration that was accepted to a supervisor with several workers.

This process becomes the supervisor: the same process id, and none of the memory that reading the configuration took.
At a reload it is run once more, as the supervisor's child, to read the configuration anew.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from gateway.app import open_store
from gateway.cli.errors import OperatorError
from gateway.config import Config
from gateway.database.errors import StoreError
from gateway.log import configure_logging
from gateway.supervisor.handover import Handover, memory, write
from gateway.web.accept import raise_open_files, tell_of_few_files
from gateway.web.openapi_ops import ops_document
from gateway.web.server import BoundSocket, ListenError

# What the end of a worker may take beyond its delay and its grace period and what has a key of its own.
_LAST_STEPS = 5.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def supervise(config: Config, settings: dict[str, Any], arguments: list[str], greeting: str) -> NoReturn:
    """Become the supervisor.

    Args:
        config: What was accepted.
        settings: The same, as it was read.
        arguments: Of ``tokenweir``, to read it anew.
        greeting: What is said when the workers are ready, with ``{address}`` and ``{ops_address}``.
    """
    command = _interpreter()
    log = configure_logging(config.log, tty=sys.stdout.isatty())
    fd = memory()
    try:
        with (
            BoundSocket(config.server.listen, "--listen", config.server) as public,
            BoundSocket(config.server.ops_listen, "--ops-listen", config.server) as ops,
        ):
            addresses = public.name, ops.name
        prepare(config)
    except (ListenError, StoreError) as error:
        raise OperatorError(str(error)) from error
    raise_open_files(config.server)  # workers inherit it
    tell_of_few_files(config.server)
    write(_handover(config, settings, arguments, greeting).bound(*addresses), fd)
    os.set_inheritable(fd, True)
    log.flush(config.log.flush_timeout)
    # What comes while the one program becomes the other waits until that takes it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    os.execv(command[0], [*command, "-m", "gateway.supervisor", str(fd)])  # noqa: S606 - ourselves


def hand_over(config: Config, settings: dict[str, Any], arguments: list[str], greeting: str, fd: int) -> None:
    """Write for a supervisor what the configuration is now."""
    configure_logging(config.log, tty=False, fd=sys.stderr.fileno())
    try:
        prepare(config)
    except StoreError as error:
        raise OperatorError(str(error)) from error
    write(_handover(config, settings, arguments, greeting), fd)


def prepare(config: Config) -> None:
    """Make what workers need, once: they start at the same time, and would all make it.

    Raises:
        StoreError: The database or the pepper cannot be used.
    """
    with ExitStack() as stack:
        open_store(config, stack)


def _handover(config: Config, settings: dict[str, Any], arguments: list[str], greeting: str) -> Handover:
    server = config.server
    return Handover(
        command=_interpreter(),
        arguments=arguments,
        listen=[],
        ops_listen=[],
        addresses=[server.listen, server.ops_listen],
        workers=server.workers,
        backlog=server.backlog,
        send_buffer=int(server.send_buffer),
        start_timeout=server.worker_start_timeout,
        worker_timeout=server.worker_timeout,
        drain_delay=server.drain_delay,
        drain_grace=server.drain_grace,
        stop_timeout=server.drain_last_words + 2 * server.shutdown_timeout + _LAST_STEPS,
        keepalive_timeout=server.keepalive_timeout,
        log_format=config.log.format,
        level=config.log.level,
        greeting=greeting,
        ops_document=json.dumps(ops_document(counts=False)),
        config=json.loads(json.dumps(settings, default=str)),
    )


def _interpreter() -> list[str]:
    """Return how to start a program of ours that imports from where this one did."""
    here = sys.path[0] in {"", str(Path.cwd())}
    return [sys.executable] if here and not sys.flags.safe_path else [sys.executable, "-P"]
