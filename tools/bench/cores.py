"""Which core does what: the server has one for itself, the harness another."""

from __future__ import annotations

import os
import resource
import shutil
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores; None where nothing is pinned.

    Attributes:
        note: What is wrong with it, for the reader of the numbers.
    """

    server: int | None
    harness: int | None
    note: str = ""


def choose(usable: set[int], *, taskset: bool) -> Cores:
    """Return the first core for the server, the second for the harness."""
    if len(usable) < 2:  # noqa: PLR2004 - the server and the harness
        return Cores(None, None, "one core for all: the server and the harness disturb each other")
    if not taskset:
        return Cores(None, None, "there is no taskset (util-linux) here: nothing is pinned to a core")
    first, second = sorted(usable)[:2]
    return Cores(first, second)


def pin() -> Cores:
    """Put this process on its core and say where the server goes; both may open as many files as is allowed."""
    cores = choose(os.sched_getaffinity(0), taskset=shutil.which("taskset") is not None)
    if cores.harness is not None:
        os.sched_setaffinity(0, {cores.harness})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return cores
