"""What limits and the ledger cost: CPU time of the process for each request, ``python -m tools.bench.limits``.

Requests come at a steady rate, each with a reservation against eight limits, its settlement, and its row in the ledger,
apart and together. What the same number of requests that do nothing takes is subtracted. CPU time is of all threads.
Redis is measured where ``redis-server`` is, on a socket of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvloop

from gateway.core.plans import Limits, Plan
from gateway.core.quota.amounts import reservation
from gateway.core.quota.holds import HoldStore
from gateway.core.quota.limits import LimitSet
from gateway.core.quota.worst import Worst
from gateway.ledger.ledger import open_ledger
from gateway.ledger.rows import Admitted, Answer, Checkpoint, Completed, Spent
from gateway.ledger.settings import LedgerSettings
from gateway.ledger.writer import Writer
from gateway.quota.guarded import GuardedHoldStore, GuardPolicy
from gateway.quota.memory import MemoryHoldStore
from gateway.quota.redis_link import RedisLink
from gateway.quota.redis_store import RedisHoldStore
from gateway.tasks import TaskOwner

Each = Callable[[str], Awaitable[None]]

_MUCH = 10**9
PLAN = Plan(
    requests_per_minute=_MUCH,
    tokens_per_minute=_MUCH,
    usd_per_day=_MUCH / 1000,
    usd_per_month=_MUCH / 1000,
    concurrent_streams=_MUCH,
    per_key=Limits(requests_per_minute=_MUCH, usd_per_day=_MUCH / 1000),
    per_user=Limits(requests_per_minute=_MUCH),
)
LIMITS = LimitSet.of_key("acme", "k1", PLAN, None)
WORST = Worst(300, 1000, 15_900_000, 300_000, 100, None)
USED = {"requests": 1, "input_tokens": 100, "output_tokens": 50, "tokens": 150, "usd": 1_050_000}
_PASSES = 3


def main() -> None:
    """Measure, and say what each part costs."""
    parser = argparse.ArgumentParser(description="What limits and the ledger cost, for each request.")
    parser.add_argument("--rate", type=int, default=300, help="Requests a second.")
    parser.add_argument("--seconds", type=float, default=5.0, help="Of each pass.")
    given = parser.parse_args()
    for name, microseconds in uvloop.run(measured(given.rate, given.seconds)).items():
        print(f"{name:<44} {microseconds:7.0f} us of CPU a request")  # noqa: T201 - a command


async def measured(rate: int, seconds: float) -> dict[str, float]:
    """Return microseconds of CPU time for each request, by what was done for it; medians of some passes."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as text:
        directory = Path(text)
        async with _ledger(directory) as writer, _redis(directory) as redis:
            memory = MemoryHoldStore()
            parts: dict[str, Each] = {
                "limits in memory": lambda name: _held(memory, name),
                "the ledger": lambda name: _booked(writer, name),
                "limits in memory and the ledger": lambda name: _both(memory, writer, name),
            }
            if redis is not None:
                parts["limits in Redis"] = lambda name: _held(redis, name)
                parts["limits in Redis and the ledger"] = lambda name: _both(redis, writer, name)
            for number in range(_PASSES):
                nothing = await _cpu(_nothing, rate, seconds, f"n{number}")
                for part, each in parts.items():
                    took = await _cpu(each, rate, seconds, f"{part}{number}")
                    found.setdefault(part, []).append(took - nothing)
    return {part: statistics.median(passes) for part, passes in found.items()}


async def _cpu(each: Each, rate: int, seconds: float, name: str) -> float:
    """Return microseconds of CPU time for each request that comes at a rate."""
    loop, count = asyncio.get_running_loop(), round(rate * seconds)
    begin, before = loop.time(), time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            await asyncio.sleep(max(0.0, begin + number / rate - loop.time()))
            tasks.create_task(each(f"{name}-{number}"))
    return (time.process_time() - before) / count * 1e6


async def _nothing(_: str) -> None:
    pass


async def _held(store: HoldStore, name: str) -> None:
    held = reservation(name, LIMITS.realm, LIMITS.of_caller("192.0.2.1", "u1"), WORST, 4096)
    await store.reserve(held)
    await store.settle(held, USED)


async def _booked(writer: Writer, name: str) -> None:
    now = time.time()
    entry = Admitted(
        name, "acme", "k1", "u1", "claude-sonnet-4-5", "chat", "/api/chat/stream", True, now, "2026-01-01", "w"
    )
    await writer.admit(entry, Checkpoint(now, now + 60, Spent(input_tokens=100, cost_nano_usd=300_000, estimated=True)))
    answer = Answer("claude", 1, "req_1", "claude-sonnet-4-5-20250929", now)
    used = Spent(input_tokens=100, output_tokens=50, cost_nano_usd=1_050_000)
    writer.complete(entry, Completed(now, used, answer, "done", 200, "end_turn"))


async def _both(store: HoldStore, writer: Writer, name: str) -> None:
    held = reservation(name, LIMITS.realm, LIMITS.of_caller("192.0.2.1", "u1"), WORST, 4096)
    await store.reserve(held)
    await _booked(writer, name)
    await store.settle(held, USED)


@asynccontextmanager
async def _ledger(directory: Path) -> AsyncIterator[Writer]:
    url = f"sqlite:///{directory}/tokenweir.db"
    async with open_ledger(url, directory / "journal", LedgerSettings(), busy_timeout=5.0) as ledger:
        yield ledger.writer


@asynccontextmanager
async def _redis(directory: Path) -> AsyncIterator[HoldStore | None]:
    """Run a Redis and yield a store in it, None where there is none."""
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None:
        yield None
        return
    with _process(server, directory / "redis.sock"):
        owner = TaskOwner(lambda error: print(repr(error)))  # noqa: T201 - a command
        link = RedisLink(f"unix://{directory}/redis.sock")
        try:
            yield GuardedHoldStore(RedisHoldStore(link, owner.spawn), GuardPolicy(timeout=5.0), owner.spawn)
        finally:
            await owner.close()
            await link.close()


@contextmanager
def _process(server: str, socket: Path) -> Iterator[None]:
    command = [server, "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - the server of this machine
        assert process.stdout is not None  # noqa: S101 - it was asked for
        next(line for line in process.stdout if b"eady to accept connections" in line)
        try:
            yield
        finally:
            process.terminate()
            process.stdout.close()


if __name__ == "__main__":
    main()
