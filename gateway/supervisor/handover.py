"""What whoever reads the configuration tells the supervisor, which cannot: the libraries for it would triple its size.

``tokenweir serve`` reads and checks the configuration, writes this into memory, and hands it over: at the start by
becoming the supervisor, at a reload as a child of it. The configuration itself is passed on to workers as it is.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Handover:
    """A configuration that was accepted, and what the supervisor needs of it.

    Attributes:
        command: How to start the interpreter for a program of ours: before ``-m``.
        arguments: Of ``tokenweir``, to read the configuration anew.
        listen: Address for everyone: the family's number, then what ``bind`` takes.
        ops_listen: Address for operators.
        addresses: Both as they were written, for a reload to compare.
        workers: How many.
        backlog: Connections that wait to be taken.
        send_buffer: Kernel's buffer that connections inherit.
        start_timeout: Longest start of a worker in seconds.
        worker_timeout: Longest silence of a worker.
        drain_delay: Seconds between unready and closed.
        drain_grace: Seconds for what is in flight.
        stop_timeout: Seconds that the end of a worker may take beyond those.
        keepalive_timeout: Seconds after which idle connections of operators are closed.
        log_format: Whether log lines are for people: ``auto``, ``json`` or ``console``.
        level: Level below which they are left out.
        greeting: What is said at the start, with the two addresses to be filled in.
        ops_document: The OpenAPI document of the operators' address.
        config: The settings for ``Config``.
    """

    command: list[str]
    arguments: list[str]
    listen: list[Any]
    ops_listen: list[Any]
    addresses: list[str]
    workers: int
    backlog: int
    send_buffer: int
    start_timeout: float
    worker_timeout: float
    drain_delay: float
    drain_grace: float
    stop_timeout: float
    keepalive_timeout: float
    log_format: str
    level: str
    greeting: str
    ops_document: str
    config: dict[str, Any]

    def bound(self, listen: list[Any], ops_listen: list[Any]) -> Handover:
        """Return it with other addresses."""
        return replace(self, listen=listen, ops_listen=ops_listen)


def write(handover: Handover, fd: int) -> None:
    """Write it into a file that is empty."""
    _write(json.dumps(asdict(handover)), fd)


def read(fd: int) -> Handover:
    """Return what was written."""
    return Handover(**json.loads(content(fd)))


def memory(text: str = "") -> int:
    """Return a file without a name that holds a text; close it in the end."""
    fd = os.memfd_create("tokenweir", os.MFD_CLOEXEC)
    _write(text, fd)
    return fd


def content(fd: int) -> bytes:
    """Return all that is in a file; whoever shares it loses no place in it."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _write(text: str, fd: int) -> None:
    left = text.encode()
    while left:
        left = left[os.write(fd, left) :]
