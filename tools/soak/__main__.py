"""``make soak``: half an hour at half load, with everything going wrong that can, and nothing left over at the end.

A crowd of clients, drawn from a seed, visits the gateway; the pretend Claude behind it fails as it is told. See
docs/performance.md for what is checked, ``visits.py`` for what goes wrong, ``account.py`` for what must hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from tools.bench.cores import Cores, pin
from tools.bench.procfs import cpu_seconds, open_files, resident_bytes, tree
from tools.bench.servers import ServerFailed
from tools.soak import health
from tools.soak.account import ANY_TIME, EXPLAINED, Account
from tools.soak.visitor import Visitor
from tools.soak.visits import Crowd
from tools.soak.world import World, world

_OUTPUT = Path(__file__).parents[2] / "build" / "soak"
_TURN = 5.0
_FIRST = 8
_SETTLED = 30.0
_ANNOUNCEMENT = b"Tokenweir serves on"


class Soak:
    """One soak."""

    def __init__(self, arguments: argparse.Namespace, cores: Cores) -> None:
        self._arguments = arguments
        self._cores = cores
        self.account = Account()
        self._crowd = Crowd(arguments.seed)
        self._visitors: list[Visitor] = []
        self._memory: list[int] = []
        self._loads: list[float] = []
        self._size = _FIRST
        self._told = 0

    async def run(self) -> None:
        """Soak, and look at what is left."""
        async with world(self._arguments.output, self._cores.server, self._line) as place:
            (process,) = _serving(place)
            before = open_files(process)
            async with asyncio.TaskGroup() as group:
                await self._soak(place, process, group)
            await self._afterwards(place, process, before)
        self.account.close()
        self._counted()

    async def _soak(self, place: World, process: int, group: asyncio.TaskGroup) -> None:
        """Hold the load for as long as it takes; the clients then leave, one by one."""
        end = time.monotonic() + self._arguments.minutes * 60
        told = time.monotonic()
        while (now := time.monotonic()) < end:
            while len(self._visitors) < self._size:
                self._visitors.append(Visitor(place.port, place.keys, self._crowd, self.account))
                group.create_task(self._visitors[-1].stay())
            for visitor in self._visitors[self._size :]:
                visitor.leaving = True
            del self._visitors[self._size :]
            await self._turn(place, process, min(_TURN, end - now))
            if time.monotonic() - told >= 60:  # noqa: PLR2004 - once a minute
                told = time.monotonic()
                self._say_how_it_is()
                place.reload()
        for visitor in self._visitors:
            visitor.leaving = True

    async def _turn(self, place: World, process: int, seconds: float) -> None:
        """Let a few seconds pass, look, and follow the load."""
        began, gateway, others = time.monotonic(), cpu_seconds([process]), _others(place)
        await asyncio.sleep(seconds)
        passed = time.monotonic() - began
        load = (cpu_seconds([process]) - gateway) / passed
        self._loads.append(load)
        self._memory.append(resident_bytes([process]))
        self._size = health.crowd_size(self._size, load, self._arguments.load, (_others(place) - others) / passed)
        if place.gateway.returncode is not None:
            raise ServerFailed(f"the gateway ended in the middle, with {place.gateway.returncode}")

    async def _afterwards(self, place: World, process: int, before: dict[str, int]) -> None:
        """Wait until the gateway is idle, and see whether it is as it was."""
        await self._wait("all streams to end", lambda now: not now["tokenweir_streams_active"], place.metrics)
        await self._wait("the pretend Claude to be idle", lambda now: not now["active"], place.claudes_view)
        await self._wait("what was opened to be closed", lambda leaks: not leaks, lambda: _leaks(process, before))
        self._memory_is_flat()
        metrics, seen = await place.metrics(), await place.claudes_view()
        code = await place.stop()
        if code:
            self.account.find(f"the gateway ended with {code}")
        self._final = metrics, seen

    def _counted(self) -> None:
        metrics, seen = self._final
        account = self.account
        same = {
            "requests": (account.lines, metrics.get("tokenweir_requests_total", 0)),
            "output tokens": (account.output, _tokens(metrics, "output")),
            "input tokens": (account.input, _tokens(metrics, "input")),
        }
        for what, (lines, counted) in same.items():
            if lines != counted:
                account.find(f"the log has {lines} {what}, the metrics have {counted:.0f}")
        if not account.least <= seen["tokens"] <= account.most:
            account.find(f"Claude sent {seen['tokens']} tokens, the account has {account.least} to {account.most}")

    async def _wait(self, what: str, true: Callable[[Any], bool], look: Callable[[], Any]) -> None:
        end = time.monotonic() + _SETTLED
        while not true(found := await look()):
            if time.monotonic() > end:
                shown = {name: value for name, value in found.items() if value} if isinstance(found, dict) else found
                self.account.find(f"waited {_SETTLED:g} s for {what}: {shown}")
                return
            await asyncio.sleep(0.2)

    def _memory_is_flat(self) -> None:
        found = health.memory(self._memory)
        if found is None:
            _say("memory: too short to say")
            return
        _say(f"memory: {found}")
        if not found.flat:
            self.account.find(f"memory is not flat: {found}")

    def _line(self, line: bytes) -> None:
        if line.startswith(b"{"):
            self.account.read(json.loads(line))
        elif not line.startswith(_ANNOUNCEMENT):
            self.account.find(f"a line that is no JSON: {line.decode('utf-8', 'replace').strip()}")

    def _say_how_it_is(self) -> None:
        account = self.account
        _say(
            f"{time.strftime('%H:%M:%S')}  {account.visits} visits, {account.lines} lines, {self._size} clients, "
            f"load {self._loads[-1]:.2f}, {self._memory[-1] / 1024 / 1024:.1f} MiB, {len(account.findings)} findings"
        )

        self._say_findings()

    def _say_findings(self) -> None:
        """Say those that are new."""
        for finding in self.account.findings[self._told :]:
            _say(f"FINDING  {finding}")
        self._told = len(self.account.findings)

    def summary(self) -> str:
        """Return what was done and what was found."""
        self._say_findings()
        account = self.account
        minutes = [f"{size / 1024 / 1024:.0f}" for size in self._memory[:: max(1, len(self._memory) // 30)]]
        load = sum(self._loads) / max(1, len(self._loads))
        return "\n".join(
            [
                f"memory in MiB: {' '.join(minutes)}",
                f"{account.visits} visits, load {load:.2f} on average, {account.output} output tokens",
                f"{account.unseen} clients left before they were seen",
                *(f"  {count:8} {name}" for name, count in account.endings.most_common()),
                *(
                    f"explained {count} times: {name}: {(EXPLAINED | ANY_TIME)[name]}"
                    for name, count in account.explained.items()
                ),
                f"{len(account.findings)} findings",
            ]
        )


def _serving(place: World) -> list[int]:
    """The gateway's one process; taskset has become it."""
    return tree(place.gateway.pid)[:1]


def _others(place: World) -> float:
    return cpu_seconds(place.claude.processes) + time.process_time()


async def _leaks(process: int, before: dict[str, int]) -> list[str]:
    return health.leaks(before, open_files(process))


def _tokens(metrics: dict[str, float], kind: str) -> float:
    return sum(
        number
        for name, number in metrics.items()
        if name.startswith("tokenweir_tokens_total{") and f'kind="{kind}"' in name
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description="Load, faults and departures for a while.")
    parser.add_argument("--minutes", type=float, default=30.0, metavar="N", help="How long.")
    parser.add_argument("--load", type=float, default=0.5, metavar="N", help="Share of its core the gateway is to use.")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="Same seed, same visits.")
    parser.add_argument("--output", type=Path, default=_OUTPUT, metavar="DIR", help="Where its files go.")
    return parser.parse_args(given)


def main(given: list[str]) -> int:
    """Run it; 1 when something does not hold."""
    arguments = _arguments(given)
    arguments.output = arguments.output.resolve()
    arguments.output.mkdir(parents=True, exist_ok=True)
    cores = pin()
    if cores.note:
        _say(f"note: {cores.note}")
    soak = Soak(arguments, cores)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(soak.run())
        except* ServerFailed as failed:
            for error in failed.exceptions:
                soak.account.find(str(error))
    _say(soak.summary())
    return 1 if soak.account.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
