"""``make bench``: what the gateway costs, beside nginx as a plain proxy on the same machine in the same run.

Passes are interleaved: all scenarios on one server, then on the next, then again from the start; what the machine did
meanwhile meets all of them. Numbers are medians of the passes. See docs/performance.md for what they mean.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from tools.bench import report
from tools.bench.cores import Cores, pin
from tools.bench.measure import Measurement, Place, measure, settled, warm_up
from tools.bench.scenarios import QUANTITIES, SCENARIOS, SUBJECTS, Scenario, Subject
from tools.bench.servers import Server, ServerFailed, start_nginx, start_tokenweir
from tools.bench.upstream import Answer, Script, Upstream

_OUTPUT = Path(__file__).parents[2] / "build" / "bench"
_SERVERS = ("direct", "nginx", "tokenweir", "workers")


class Bench:
    """One run of the bench.

    Attributes:
        results: What was measured, by scenario and subject, one for each pass.
        left_out: What was not measured, and why.
    """

    def __init__(self, arguments: argparse.Namespace, cores: Cores) -> None:
        self.results: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
        self.left_out: dict[str, str] = {}
        self._arguments = arguments
        self._cores = cores
        self._upstream = Upstream(Script(10))
        self._port = 0
        self._server: Server | None = None

    async def run(self) -> None:
        """Measure everything that was asked for."""
        listener = await asyncio.get_running_loop().create_server(
            lambda: Answer(self._upstream), "127.0.0.1", 0, backlog=4096
        )
        self._port = listener.sockets[0].getsockname()[1]
        async with AsyncExitStack() as stack:
            stack.callback(listener.close)
            stack.push_async_callback(self._stop)
            for number in range(self._arguments.passes):
                for server in _SERVERS:
                    await self._pass(number, server)

    async def _pass(self, number: int, server: str) -> None:
        """Measure all scenarios on one server."""
        planned = self._planned(number, server)
        for at, (scenario, subject) in enumerate(planned):
            if server in self.left_out:
                return
            try:
                if at == 0 or scenario.fresh:
                    await self._start(server)
                await self._measure(number, scenario, subject)
            except (ServerFailed, TimeoutError, OSError) as error:
                if self._server is None and server != "direct":
                    self.left_out[server] = str(error)
                else:
                    self.results[scenario.name, subject.name].append(_failed(error))
        await self._stop()

    def _planned(self, number: int, server: str) -> list[tuple[Scenario, Subject]]:
        """Return what is measured on a server in this pass; what wants a fresh one comes last."""
        wanted = [SCENARIOS[name].lasting(self._arguments.seconds) for name in self._arguments.scenarios]
        return [
            (scenario, SUBJECTS[name])
            for scenario in sorted(wanted, key=lambda scenario: scenario.fresh)
            for name in scenario.subjects
            if SUBJECTS[name].server == server and not (scenario.once and number)
        ]

    async def _start(self, server: str) -> None:
        await self._stop()
        match server:
            case "nginx":
                self._server = await start_nginx(self._arguments.output, self._port, self._cores.server)
            case "tokenweir" | "workers":
                workers = 2 if server == "workers" else 1
                self._server = await start_tokenweir(self._arguments.output, self._port, self._cores.server, workers)
        for subject in SUBJECTS.values():
            if subject.server == server:
                await warm_up(self._place(), subject)

    async def _measure(self, number: int, scenario: Scenario, subject: Subject) -> None:
        found = await measure(self._place(), scenario, subject)
        self.results[scenario.name, subject.name].append(found)
        _say(f"  pass {number + 1}  {scenario.name:4} {subject.name:9} {_short(scenario.name, found)}")

    def _place(self) -> Place:
        server = self._server
        if server is None:
            return Place(self._upstream, self._port)
        return Place(self._upstream, server.port, server.processes, server.headers)

    async def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
            await settled(self._upstream)


def _failed(error: Exception) -> Measurement:
    return {"harness": 0.0, "problems": {f"{type(error).__name__}: {error}": 1}}


def _short(scenario: str, found: Measurement) -> str:
    keys = [quantity.key for quantity in QUANTITIES if quantity.scenario == scenario] or ["us_per_token"]
    numbers = {key: found[key] for key in (*keys, "utilisation", "harness") if found.get(key) is not None}
    problems = f"  PROBLEMS {found['problems']}" if found["problems"] else ""
    return "  ".join(f"{name} {value:.2f}" for name, value in numbers.items()) + problems


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description="Measure what the gateway costs.")
    parser.add_argument("--scenarios", type=_names, default=list(SCENARIOS), metavar="S1,S4", help="Only these.")
    parser.add_argument("--seconds", type=float, metavar="N", help="Length of every window, instead of each one's own.")
    parser.add_argument("--passes", type=int, default=2, metavar="N", help="Passes, of which medians are taken.")
    parser.add_argument("--output", type=Path, default=_OUTPUT, metavar="DIR", help="Where results and logs go.")
    return parser.parse_args(given)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    return names


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": models[0] if models else platform.machine(),
        "cores": len(models),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _written(bench: Bench, machine: dict[str, Any], output: Path) -> Path:
    file = output / "results.json"
    measured = [
        {"scenario": scenario, "subject": subject, "passes": runs}
        for (scenario, subject), runs in bench.results.items()
    ]
    file.write_text(json.dumps({"machine": machine, "left_out": bench.left_out, "measured": measured}, indent=1) + "\n")
    return file


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(given: list[str]) -> int:
    """Run it; 1 when an answer was not whole, because its numbers then say nothing."""
    arguments = _arguments(given)
    arguments.output = arguments.output.resolve()
    arguments.output.mkdir(parents=True, exist_ok=True)
    cores, machine = pin(), _machine()
    _say(f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}")
    for name in arguments.scenarios:
        _say(f"  {name:4} {SCENARIOS[name].what}")
    bench = Bench(arguments, cores)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bench.run())
    problems = report.problems(bench.results)
    _say("\n" + "\n".join([report.table(bench.results), *report.workers(bench.results)]) + "\n")
    notes = [cores.note] if cores.note else []
    notes += [f"{server} was left out: {reason}" for server, reason in bench.left_out.items()]
    for note in notes + report.warnings(bench.results):
        _say(f"note: {note}")
    for problem in problems:
        _say(f"error: {problem}")
    _say(f"Everything that was measured: {_written(bench, machine, arguments.output)}")
    return 1 if problems or "tokenweir" in bench.left_out else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
