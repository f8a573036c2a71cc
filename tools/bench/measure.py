"""One measurement: a scenario on a subject, from an idle server to an idle server.

- CPU is user and system time of the server's whole process tree over the window, in-flight set-up included.
- Memory is the tree's resident set, read four times a second; growth is the highest value less the one before.
- A measurement ends when the upstream has no stream any more, so that the next one starts from nothing.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tools.bench.client import Client, Tally, Target, request
from tools.bench.procfs import cpu_seconds, open_files, resident_bytes
from tools.bench.scenarios import Scenario, Subject
from tools.bench.upstream import Script, Upstream

_MIB = 1024 * 1024
_SAMPLE = 0.25
_SETTLED = 20.0
_SLICE = 0.1
_WARM_UP = Script(10)

Measurement = dict[str, Any]


@dataclass
class Memory:
    """The resident set of some processes, watched."""

    processes: list[int]
    before: int = 0
    peak: int = 0

    @property
    def growth(self) -> int:
        """The highest value less the first."""
        return self.peak - self.before

    def look(self) -> None:
        """Read it once."""
        now = resident_bytes(self.processes)
        self.before = self.before or now
        self.peak = max(self.peak, now)


@dataclass(frozen=True)
class Place:
    """Where a measurement takes place: the upstream, and the server before it."""

    upstream: Upstream
    port: int
    processes: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def target(self, subject: Subject) -> Target:
        """Whom the clients ask."""
        return Target("127.0.0.1", self.port, request(subject.path, subject.body, self.headers), subject.end)


async def measure(place: Place, scenario: Scenario, subject: Subject) -> Measurement:
    """Measure, and wait until nothing is left of it."""
    place.upstream.script = scenario.script
    run = {"load": _load, "slow": _slow, "leave": _leave}[scenario.kind]
    found = await run(place, scenario, subject)
    await settled(place.upstream)
    return found


async def warm_up(place: Place, subject: Subject) -> None:
    """Have the server do everything once, so that what is lazy is done; its answers must be whole."""
    place.upstream.script = _WARM_UP
    tally = Tally(open=True)
    clients = await _started(place.target(subject), 16, _WARM_UP.tokens, tally, 0.0)
    await asyncio.sleep(1.0)
    _stop(clients, tally)
    await settled(place.upstream)


async def _load(place: Place, scenario: Scenario, subject: Subject) -> Measurement:
    tally = Tally(timed=scenario.timed)
    async with _watched(place.processes) as memory:
        clients = await _started(place.target(subject), scenario.clients, scenario.script.tokens, tally, scenario.ramp)
        await asyncio.sleep(scenario.warm)
        tally.open = True
        began, cpu, own = time.monotonic(), cpu_seconds(place.processes), time.process_time()
        each = [cpu_seconds([pid]) for pid in place.processes]
        await asyncio.sleep(scenario.window)
        wall, cpu = time.monotonic() - began, cpu_seconds(place.processes) - cpu
        own = time.process_time() - own
        tally.open = False
        each = [cpu_seconds([pid]) - before for pid, before in zip(place.processes, each, strict=True)]
        sockets = [open_files(pid).get("socket", 0) for pid in place.processes]
        memory.look()
        _stop(clients, tally)
    if not tally.tokens or not tally.streams + (scenario.script.interval >= 1.0):
        tally.problems["nothing arrived in the window"] += 1
    return {
        "tokens_per_second": tally.tokens / wall,
        "requests_per_second": tally.streams / wall,
        "utilisation": cpu / wall,
        "harness": own / wall,
        "us_per_token": cpu / tally.tokens * 1e6 if tally.tokens else None,
        "ms_per_request": cpu / tally.streams * 1e3 if tally.streams else None,
        "ttft_p50_ms": _milliseconds(tally.first, 0.5, 1e3),
        "ttft_p99_ms": _milliseconds(tally.first, 0.99, 1e3),
        "delay_p50_ms": _milliseconds(tally.delays, 0.5, 1e-6),
        "delay_p99_ms": _milliseconds(tally.delays, 0.99, 1e-6),
        "idle_mib": memory.before / _MIB,
        "growth_mib": memory.growth / _MIB,
        "kib_per_stream": memory.growth / 1024 / scenario.clients,
        "cpu_of_processes": each,
        "sockets_of_processes": sockets,
        "problems": dict(tally.problems),
    }


async def _slow(place: Place, scenario: Scenario, subject: Subject) -> Measurement:
    """One client that reads less than it is sent, for so long; then it leaves."""
    loop = asyncio.get_running_loop()
    own, began, read = time.process_time(), time.monotonic(), 0
    async with _watched(place.processes) as memory:
        with socket.create_connection(("127.0.0.1", place.port)) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, place.target(subject).request)
            while (passed := time.monotonic() - began) < scenario.window:
                due = int(passed * scenario.rate) - read
                read += len(await loop.sock_recv(client, due)) if due > 0 else 0
                await asyncio.sleep(_SLICE)
            held = place.upstream.accepted - read
            utilisation = (time.process_time() - own) / (time.monotonic() - began)
        left = time.monotonic()
        closed = await _departures(place.upstream, 1, left)
    return {
        "growth_mib": memory.growth / _MIB,
        "held_mib": held / _MIB,
        "closed_ms": max(closed, default=None),
        "harness": utilisation,
        "problems": {} if read else {"nothing was read": 1},
    }


async def _leave(place: Place, scenario: Scenario, subject: Subject) -> Measurement:
    """Clients that leave together, in the middle; how long until the upstream's connections are closed."""
    own, began = time.process_time(), time.monotonic()
    tally = Tally()
    clients = await _started(place.target(subject), scenario.clients, scenario.script.tokens, tally, 0.0)
    await asyncio.sleep(scenario.window)
    asked = len(place.upstream.connections)
    left = time.monotonic()
    _stop(clients, tally)
    closed = await _departures(place.upstream, asked, left)
    problems = dict(tally.problems)
    if asked != scenario.clients or len(closed) != asked:
        problems[f"{scenario.clients} clients, {asked} streams, {len(closed)} of them closed"] = 1
    utilisation = (time.process_time() - own) / (time.monotonic() - began)
    return {"closed_ms": max(closed, default=None), "harness": utilisation, "problems": problems}


async def _started(target: Target, count: int, tokens: int, tally: Tally, ramp: float) -> list[Client]:
    clients = [Client(target, tokens, tally) for _ in range(count)]
    began = time.monotonic()
    for number, client in enumerate(clients):
        if (early := began + ramp * number / count - time.monotonic()) > 0:
            await asyncio.sleep(early)
        await client.connect()
    return clients


def _stop(clients: list[Client], tally: Tally) -> None:
    tally.stopping = True
    for client in clients:
        client.stop()


async def settled(upstream: Upstream) -> None:
    """Wait until no stream runs any more.

    Raises:
        TimeoutError: The server does not let go of streams whose clients have left.
    """
    async with asyncio.timeout(_SETTLED):
        while upstream.connections:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(_SLICE / 10)


async def _departures(upstream: Upstream, count: int, since: float) -> list[float]:
    """Return after how many milliseconds each of so many upstream connections was closed, as far as they were."""
    patience = time.monotonic() + _SETTLED
    while time.monotonic() < patience:
        closed = [moment for moment in upstream.departures if moment >= since]
        if len(closed) >= count:
            break
        await asyncio.sleep(0.001)
    return [(moment - since) * 1e3 for moment in upstream.departures if moment >= since]


@asynccontextmanager
async def _watched(processes: list[int]) -> AsyncIterator[Memory]:
    memory = Memory(processes)
    memory.look()

    async def look() -> None:
        while True:
            await asyncio.sleep(_SAMPLE)
            memory.look()

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(look())
        try:
            yield memory
        finally:
            watching.cancel()
            memory.look()


def _milliseconds(values: list[Any], share: float, factor: float) -> float | None:
    found = quantile(values, share)
    return None if found is None else found * factor


def quantile(values: list[Any], share: float) -> float | None:
    """Return the value below which this share of the values is; None of nothing."""
    if not values:
        return None
    return float(sorted(values)[min(len(values) - 1, int(share * len(values)))])
