"""What Linux says of a process and its children: CPU time, memory, sockets.

- A process that has ended between two reads counts as nothing; it is not an error.
- Everything is read below ``proc``, so that tests can bring a directory of their own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Stat:
    """Of a process' ``stat`` what is used here; the ticks are user and system time together."""

    parent: int
    ticks: int


def parse_stat(text: str) -> Stat:
    """Read ``/proc/PID/stat``; the name in it may hold spaces and parentheses."""
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(int(fields[1]), int(fields[11]) + int(fields[12]))


def stat(pid: int, proc: Path = PROC) -> Stat | None:
    """Return what there is of a process, None when it has ended."""
    try:
        return parse_stat((proc / str(pid) / "stat").read_text())
    except OSError:
        return None


def tree(pid: int, proc: Path = PROC) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit() and (found := stat(int(entry.name), proc)) is not None:
            children.setdefault(found.parent, []).append(int(entry.name))
    family = [pid]
    for member in family:
        family.extend(sorted(children.get(member, [])))
    return family


def cpu_seconds(pids: list[int], proc: Path = PROC) -> float:
    """Return the CPU time that these processes have used."""
    return sum(found.ticks for pid in pids if (found := stat(pid, proc)) is not None) / TICK


def resident_bytes(pids: list[int], proc: Path = PROC) -> int:
    """Return the memory that these processes hold."""
    return sum(_resident(pid, proc) for pid in pids)


def _resident(pid: int, proc: Path) -> int:
    try:
        return int((proc / str(pid) / "statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def open_files(pid: int, proc: Path = PROC) -> dict[str, int]:
    """Return how many files of each kind a process has open: ``socket``, ``anon_inode``, ``pipe``, ``file``."""
    counts: dict[str, int] = {}
    try:
        entries = list((proc / str(pid) / "fd").iterdir())
    except OSError:
        return counts
    for entry in entries:
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # closed meanwhile, or the one that listed the directory
        kind = target.partition(":")[0] if ":" in target else "file"
        counts[kind] = counts.get(kind, 0) + 1
    return counts
