"""The hold store of any number of processes: each operation is one script in Redis or Valkey, and one round trip.

- Keys of a realm (a tenant, or its browsers without a key) share a hash tag, so a cluster has them in one place.
- The clock is the server's own. Whatever is kept ends by itself: windows with their length, budgets an hour after their
  period, and all of a tenant that is idle for 40 days.
- A store that lost what it had says so: what was used is loaded first (``redis_rebuild``), and what this process holds
  is held again with the next renewal, or at its end.
- No time limit and no policy: :mod:`gateway.quota.guarded` has both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from gateway.core.quota.calendar import Calendar
from gateway.core.quota.holds import (
    ENDED,
    Amounts,
    Checkpoint,
    Held,
    LimitState,
    Overshoot,
    Refused,
    Reservation,
)
from gateway.core.quota.limits import AppliedLimit
from gateway.quota.failure import unavailable
from gateway.quota.redis_codec import (
    Common,
    Reply,
    admission,
    amounts,
    limits,
    limits_to_see,
    overshoots,
    parsed,
    states,
)
from gateway.quota.redis_link import RedisLink
from gateway.quota.redis_rebuild import Rebuild, Rebuilder, Spawn, nothing_used
from gateway.quota.redis_script import Call, Name, run

_KEYS = ("clock", "generation", "leases")
# A tenant with so many leases that are due at once (500 each time) is not one to wait for.
_MOST_TRIES = 40
_OBSTACLES = ("REBUILD", "CLOCK", "MORE")


def _nobody(_: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Whose time counts, in Unix seconds.

    Attributes:
        own: This process' clock.
        server: What counts instead of the server's clock; None for that itself.
    """

    own: Callable[[], float] = time.time
    server: Callable[[], float] | None = None


class RedisHoldStore:
    """A :class:`~gateway.core.quota.holds.HoldStore` that processes share.

    Args:
        link: The server.
        spawn: Starts a task that is ended with the process.
        calendar: Where days and months begin; the same in all processes.
        rebuild: Says what a tenant used, for a store that was lost.
        tombstone_ttl: Seconds for which an ended or expired request is remembered; longer than the longest stream.
        clocks: For tests: whose time counts.
        on_expired: Told how many leases ran out, by whichever process notices.

    Attributes:
        skew: Seconds by which the store's clock is ahead of this process'.
    """

    def __init__(
        self,
        link: RedisLink,
        spawn: Spawn,
        calendar: Calendar | None = None,
        *,
        rebuild: Rebuild = nothing_used,
        tombstone_ttl: float = 3600.0,
        clocks: Clocks | None = None,
        on_expired: Callable[[int], None] = _nobody,
    ) -> None:
        self._link = link
        self._clocks = clocks or Clocks()
        self._on_expired = on_expired
        self._common = Common(calendar or Calendar(), tombstone_ttl)
        self._rebuilder = Rebuilder(link, self._common, rebuild, spawn, self._now, self._time)
        # What this process holds, by id: when it was admitted. Whether the store still has it is the store's to say.
        self._held: dict[str, float] = {}
        self.skew = 0.0

    @property
    def held(self) -> int:
        """Requests of this process that hold a lease."""
        return len(self._held)

    def adopt(self, held: Reservation, admitted_at: float) -> None:
        """Take over a request that was let in without this store.

        It is held from its next renewal on, and counts at its end.

        Args:
            held: What it would have held.
            admitted_at: Unix seconds.
        """
        self._held.setdefault(held.id, admitted_at)

    def forget(self, held: Reservation) -> None:
        """Give up a request that will not be settled; its lease runs out."""
        self._held.pop(held.id, None)

    async def begun(self) -> float:
        """Return since when the server knows anything, which is now if it knew nothing."""
        return await self._rebuilder.begun()

    async def ping(self) -> None:
        """Check that the server answers, and takes writes."""
        await self._link.call("SET", f"{self._link.prefix}:ping", "", "PX", 1000)

    def problem(self) -> None:
        """Return why nobody is let in: what to do when it is away is not decided here."""

    async def reserve(self, reservation: Reservation) -> Held | Refused:
        """Hold everything that ``reservation`` asks for, or nothing."""
        reply = await self._step("reserve", reservation, limits(reservation), amounts(reservation.spent))
        if reply.kind == "ENDED":
            return Refused(ENDED, None, False, ())
        answer = admission(reply, reservation, self._common.period)
        if isinstance(answer, Held):
            self._held[reservation.id] = answer.admitted_at
        return answer

    async def renew(self, checkpoints: Sequence[Checkpoint]) -> frozenset[str]:
        """Prolong leases, and note what was used; return ids that are not known or have ended."""
        realms: dict[str, list[Checkpoint]] = {}
        for checkpoint in checkpoints:
            realms.setdefault(checkpoint.held.realm, []).append(checkpoint)
        if not realms:
            return frozenset()
        replies = await run(self._link, *[self._renewal(realm, some) for realm, some in realms.items()])
        unknown, lost = set(), []
        for some, raw in zip(realms.values(), replies, strict=True):
            for checkpoint, letter in zip(some, self._noted(raw).rest[0].decode(), strict=True):
                if letter == "u" and checkpoint.held.id in self._held:
                    lost.append(checkpoint)
                elif letter != "k":
                    unknown.add(checkpoint.held.id)
        unknown.update([held.id for held, spent in lost if not await self._register(held, spent)])
        return frozenset(unknown)

    async def settle(self, held: Reservation, used: Amounts, ended_at: float | None = None) -> tuple[Overshoot, ...]:
        """End the hold and count what was used."""
        reply = await self._settle(held, used, sure=held.id in self._held)
        if reply.kind == "UNKNOWN":
            await self._register(held, held.spent, ended_at)
            reply = await self._settle(held, used, sure=False)
        self._held.pop(held.id, None)
        return overshoots(reply, held)

    async def cancel(self, held: Reservation) -> None:
        """End the hold and give back everything."""
        await self._settle(held, {}, sure=False)
        self._held.pop(held.id, None)

    async def look(self, realm: str, limits: tuple[AppliedLimit, ...]) -> tuple[LimitState, ...]:
        """Return where limits stand, and hold nothing."""
        if not limits:
            return ()
        reply = await self._step("look", Reservation("", limits, realm=realm), limits_to_see(limits))
        return states(limits, reply.rest, reply.now, self._common.period)

    async def _step(self, script: Name, held: Reservation, *told: object) -> Reply:
        """Run a script, and do what it says has to be done before."""
        prefix, arguments, unix = self._prefix_of(held.realm), orjson.dumps(told), self._now()
        keys = self._keys(
            prefix, *([f"hold:{held.id}"] if held.id else []), *[f"c:{limit.key}" for limit in held.limits]
        )
        for _ in range(_MOST_TRIES):
            call = Call(script, keys, (self._common.at(unix), self._time(), arguments))
            before = self._clocks.own()
            reply = self._noted((await run(self._link, call))[0])
            if reply.kind not in _OBSTACLES:
                self.skew = reply.now - (before + self._clocks.own()) / 2
                return reply
            if reply.kind == "REBUILD":
                await self._rebuilder.ready(held.realm, prefix)
            elif reply.kind == "CLOCK":
                unix = reply.now
        raise unavailable(f"{script}: {reply.kind} again and again")

    async def _register(self, held: Reservation, spent: Amounts, ended_at: float | None = None) -> bool:
        """Hold again what the store has lost; return False for what has ended, also meanwhile."""
        admitted_at = self._held.get(held.id)
        if admitted_at is None:
            return False
        reply = await self._step("register", held, limits(held), amounts(spent), admitted_at, ended_at or 0)
        return reply.kind == "REGISTERED"

    async def _settle(self, held: Reservation, used: Amounts, *, sure: bool) -> Reply:
        keys = self._keys(self._prefix_of(held.realm), f"hold:{held.id}")
        arguments = (self._common.at(self._now()), self._time(), orjson.dumps(amounts(used)), "1" if sure else "")
        return self._noted((await run(self._link, Call("settle", keys, arguments)))[0])

    def _renewal(self, realm: str, some: list[Checkpoint]) -> Call:
        keys = self._keys(self._prefix_of(realm), *[f"hold:{held.id}" for held, _ in some])
        told = orjson.dumps([amounts(spent) for _, spent in some])
        return Call("renew", keys, (self._common.at(self._now()), self._time(), told))

    def _noted(self, raw: bytes) -> Reply:
        reply = parsed(raw)
        if reply.expired:
            self._on_expired(reply.expired)
        return reply

    def _now(self) -> float:
        """Return what the store's clock is likely to say."""
        return self._clocks.own() + self.skew

    def _time(self) -> str:
        server = self._clocks.server
        return "" if server is None else repr(server())

    def _prefix_of(self, realm: str) -> str:
        return f"{{{self._link.prefix}:{realm}}}:"

    def _keys(self, prefix: str, *more: str) -> list[str]:
        return [prefix + key for key in (*_KEYS, *more)]
