"""A supervisor's processes and what they hold, as the system shows them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import aiohttp


def children(pid: int) -> dict[int, str]:
    """Return the state of each child by its process id; ``Z`` is a zombie."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if int(parent) == pid:
                found[int(entry.name)] = state
    return found


def files(pid: int) -> int:
    """Return how many files a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def sockets(pid: int) -> set[str]:
    """Return the sockets of a process."""
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = str(fd.readlink())
        except OSError:  # closed meanwhile
            continue
        if name.startswith("socket:"):
            found.add(name)
    return found


def server_socket(client: tuple[str, int], server_port: int) -> str:
    """Return the socket of a server that a client's is connected with, over IPv4."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(address.partition(":")[2], 16) for address in fields[1:3])
        if (local, remote) == (server_port, client[1]):
            return f"socket:[{fields[9]}]"
    raise AssertionError(f"nothing is connected with {client}")


def alive(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pid, number)


async def scraped(http: aiohttp.ClientSession, ops_url: str) -> dict[str, float]:
    """Return all series of a scrape."""
    async with http.get(f"{ops_url}/metrics") as answer:
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def total(series: dict[str, float], family: str, *labels: str) -> float:
    """Return the sum of a family's series that have some labels, each written ``name="value"``."""
    return sum(
        value
        for name, value in series.items()
        if name.partition("{")[0] == family and all(label in name for label in labels)
    )
