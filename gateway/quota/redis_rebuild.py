"""A store that was lost is filled again before anybody is let in on what it says.

- Of all processes that notice, one is elected per tenant; the others wait until it is done, or gone.
- What requests in flight hold and use is not part of it: they register again with their next renewal, or at their end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, NamedTuple, cast
from uuid import uuid4

import orjson
import structlog

from gateway.core.quota.calendar import Span
from gateway.quota.failure import incomplete
from gateway.quota.redis_codec import MOST, Common, parsed
from gateway.quota.redis_link import RedisLink
from gateway.quota.redis_script import Call, run

log = structlog.get_logger()

Spawn = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


class Rebuilt(NamedTuple):
    """What a realm used in the day and the month that are.

    Attributes:
        used: By the counter's key.
        until: Unix seconds: what ended up to then is in it, and nothing else; the rest counts when it is settled.
    """

    used: Mapping[str, int]
    until: float = 0.0


Rebuild = Callable[[str, float], Awaitable[Rebuilt]]
"""Given a realm, and since when the store knows anything (Unix seconds), says what the realm used."""

# Seconds.
_PATIENCE = 0.15  # shorter than a request's time limit, so that waiting is not taken for a slow store
_LOCK = 10.0
_LOOK_EVERY = 0.02
_AGAIN = 1.0
_AT_MOST = 60.0
_AT_ONCE = 500
_REMEMBERED = 40 * 86_400  # as everything else


async def nothing_used(*_: object) -> Rebuilt:
    """Know of nothing: for a gateway that keeps no books."""
    return Rebuilt({})


class Rebuilder:
    """Fills the counters of tenants, each once at a time.

    Args:
        link: The server.
        common: Knows the periods.
        rebuild: Says what was used.
        spawn: Starts a task; it goes on when whoever waited for it has given up.
        clock: The store's clock, Unix seconds.
        told: The clock as scripts are told it.
    """

    def __init__(
        self,
        link: RedisLink,
        common: Common,
        rebuild: Rebuild,
        spawn: Spawn,
        clock: Callable[[], float],
        told: Callable[[], str],
    ) -> None:
        self._link = link
        self._common = common
        self._rebuild = rebuild
        self._spawn = spawn
        self._clock, self._told = clock, told
        self._running: dict[str, asyncio.Task[Any]] = {}

    async def ready(self, realm: str, prefix: str) -> None:
        """Wait a moment until the counters of a realm, whose keys begin with ``prefix``, are complete.

        Raises:
            StoreIncomplete: They are not, or could not be filled.
        """
        task = self._running.get(realm)
        if task is None:
            task = self._running[realm] = self._spawn(self._fill(realm, prefix))
            task.add_done_callback(partial(self._ended, realm))
        done, _ = await asyncio.wait({task}, timeout=_PATIENCE)
        if not done or task.cancelled():
            raise incomplete("what was used is being loaded")
        if error := task.result():
            raise incomplete(f"what was used could not be loaded: {error!r}")

    def _ended(self, realm: str, _: asyncio.Task[Any]) -> None:
        self._running.pop(realm, None)

    async def _fill(self, realm: str, prefix: str) -> Exception | None:
        """Fill the counters, or wait for whoever does; return why they are not."""
        try:
            async with asyncio.timeout(_AT_MOST):
                while not await self._turn(realm, prefix):  # noqa: ASYNC110 - another process fills
                    await asyncio.sleep(_LOOK_EVERY)
        except Exception as error:  # noqa: BLE001 - told to all who wait for it
            log.warning("limits could not be rebuilt", tenant=realm, error=repr(error))
            await asyncio.sleep(_AGAIN)  # the books are not asked anew by each request
            return error
        return None

    async def _turn(self, realm: str, prefix: str) -> bool:
        """Take the lock and fill the counters; return whether they are complete."""
        owner, lock = uuid4().hex, f"{prefix}lock"
        taken = await self._link.call("SET", lock, owner, "NX", "PX", round(_LOCK * 1000), ahead=True)
        # Asked after the lock was taken: whoever had it before has said this before it was let go.
        if await self._link.call("EXISTS", f"{prefix}generation", ahead=True):
            if taken:
                await self._link.call("DEL", lock, ahead=True)
            return True
        if not taken:
            return False
        rebuilt = await self._rebuild(realm, await self.begun())
        if not await self._load(prefix, owner, rebuilt):
            return False
        log.info("limits rebuilt", tenant=realm, counters=len(rebuilt.used))
        return True

    async def begun(self) -> float:
        """Return since when the store knows anything, by the clock of whoever asked first."""
        key = f"{self._link.prefix}:begun"
        first = ("SET", key, repr(time.time()), "NX", "EX", _REMEMBERED)
        return float((await self._link.calls([first, ("GET", key)], ahead=True))[1])

    async def _load(self, prefix: str, owner: str, rebuilt: Rebuilt) -> bool:
        common, told, used = self._common.at(self._clock()), self._told(), list(rebuilt.used.items())
        for start in range(0, max(1, len(used)), _AT_ONCE):
            some = used[start : start + _AT_ONCE]
            keys = [f"{prefix}{name}" for name in ("clock", "generation", "leases", "lock")]
            keys += [f"{prefix}c:{key}" for key, _ in some]
            until = repr(rebuilt.until) if start + _AT_ONCE >= len(used) else ""
            values = orjson.dumps([self._value(key, amount) for key, amount in some])
            call = Call("load", keys, (common, told, values, owner, until))
            if parsed((await run(self._link, call, ahead=True))[0]).kind != "LOADED":
                return False
        return True

    def _value(self, key: str, amount: int) -> tuple[float, float, int]:
        """Return the period of a counter, which its key ends with, and what was used in it."""
        _, start, end = self._common.period(cast("Span", key.rpartition(":")[2]), self._clock())
        return start, end, min(amount, MOST)
