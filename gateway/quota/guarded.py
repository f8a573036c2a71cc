"""A shared hold store that may be slow or gone, behind a time limit, a breaker, and a policy for the meantime.

- No operation takes longer than the time limit, and none is tried while the breaker is open. What finds out whether the
  store is back is a task of its own, so no request waits for that. After one that got no answer only those who are to
  be let in wait: so a request waits once, whether at its beginning or at its end.
- ``deny`` refuses requests while the store is away, ``allow`` lets all in, ``local`` lets in this process' share.
- A reservation whose outcome is unknown is taken back (``deny``), or belongs to the request that was let in.
- What ends while the store is away is remembered, up to a bound, and told when it is back, before anybody is asked to
  wait for the store again; what was let in without it and still runs is held then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import structlog

from gateway.core.breaker import Breaker, BreakerPolicy
from gateway.core.errors import StoreUnavailable
from gateway.core.quota.holds import (
    FIRST_LEASE,
    Amounts,
    Checkpoint,
    Held,
    HoldStore,
    LimitState,
    Overshoot,
    Refused,
    Reservation,
)
from gateway.core.quota.limits import AppliedLimit
from gateway.quota.arrears import Arrears, End
from gateway.quota.failure import StoreIncomplete, unavailable
from gateway.quota.local_share import LocalShare
from gateway.quota.memory import MemoryHoldStore

log = structlog.get_logger()

OnFailure = Literal["deny", "allow", "local"]
Operation = Literal["reserve", "renew", "settle", "cancel", "look", "ping"]
T = TypeVar("T")

# Three in a row are no accident. Looking whether the store is back costs no request anything, so that is often.
_BREAKER = BreakerPolicy(failures=3, error_rate=0, window=10, min_calls=1, cooldown=0.25, max_cooldown=1.0)

_LAST = 5.0  # seconds for a store that answers, at the end of the process
_AGAIN = 1.0  # seconds until a store that lacked what a tenant used is told again


class SharedHoldStore(HoldStore, Protocol):
    """A store that can be away, and take over what was let in meanwhile."""

    async def ping(self) -> None:
        """Check that the store is there and takes writes."""
        ...

    def adopt(self, held: Reservation, admitted_at: float) -> None:
        """Take over a request that was let in without the store."""
        ...

    def forget(self, held: Reservation) -> None:
        """Give up a request that will not be settled."""
        ...


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """What happens when the store is away.

    Attributes:
        on_failure: What becomes of requests meanwhile.
        timeout: Seconds that an operation may take.
        replicas: Processes that share the limits, for ``local``.
        most_arrears: Ends that are remembered meanwhile (about 1 KiB each).
        breaker: When the store counts as away, and when it is asked again.
    """

    on_failure: OnFailure = "deny"
    timeout: float = 0.25
    replicas: int = 1
    most_arrears: int = 20_000
    breaker: BreakerPolicy = _BREAKER


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told, for metrics.

    Attributes:
        took: Of the seconds that each operation took, failed or not.
        failed: Of each operation that failed; ``ping`` is the search for a store that is away.
        dropped: Of each end that was forgotten, because too many had to be remembered.
    """

    took: Callable[[Operation, float], None] = lambda *_: None
    failed: Callable[[Operation], None] = lambda _: None
    dropped: Callable[[], None] = lambda: None


class GuardedHoldStore:
    """A :class:`~gateway.core.quota.holds.HoldStore` around one that may be away.

    Args:
        store: The shared store.
        policy: What happens when it is away.
        spawn: Starts a task that is ended with the process.
        watcher: Who is told.
        local: Makes an empty store of one process, for ``local``.
        monotonic: Seconds for the breaker.
        unix: Unix seconds.
    """

    def __init__(
        self,
        store: SharedHoldStore,
        policy: GuardPolicy,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        *,
        watcher: Watcher | None = None,
        local: Callable[[], HoldStore] = MemoryHoldStore,
        monotonic: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._policy = policy
        self._spawn = spawn
        self._watcher = watcher or Watcher()
        self._monotonic, self._unix = monotonic, unix
        self._breaker = Breaker(policy.breaker)
        self._share = LocalShare(policy.replicas, local, unix) if policy.on_failure == "local" else None
        self._arrears = Arrears(policy.most_arrears)
        self._adopted: dict[str, Reservation] = {}
        self._recovery: asyncio.Task[Any] | None = None
        self._away_since: float | None = None
        # Whether the store did not answer when it was asked last: then nobody but who is to be let in waits for it.
        self._silent = False

    @property
    def working(self) -> bool:
        """Whether the store is asked."""
        return self._breaker.state == "closed"

    @property
    def arrears(self) -> int:
        """Ends that the store is still to be told."""
        return len(self._arrears)

    def problem(self) -> str | None:
        """Return why nobody is let in now, None unless it is so."""
        denied = self._policy.on_failure == "deny" and not self.working
        return "limits cannot be counted: the shared store is away" if denied else None

    async def reserve(self, reservation: Reservation) -> Held | Refused:
        """Hold everything that ``reservation`` asks for, or nothing.

        Raises:
            StoreUnavailable: The store is away, and the policy is to let nobody in.
        """
        if not self.working:
            return await self._without(reservation, unavailable("the store is away"), sent=False)
        try:
            answer = await self._ask("reserve", self._store.reserve(reservation))
        except StoreUnavailable as error:
            return await self._without(reservation, error, sent=not isinstance(error, StoreIncomplete))
        except BaseException:
            self._owe(End(reservation, None))  # the client left, and the store may have let it in
            raise
        if self._share is not None:
            self._share.see(reservation, answer)
        return answer

    async def renew(self, checkpoints: Sequence[Checkpoint]) -> frozenset[str]:
        """Prolong leases, and note what was used; return ids not known or ended, none while it is away."""
        if self._share is not None and self._share.store is not None:
            await self._share.store.renew(checkpoints)
        if not self.working:
            return frozenset()
        try:
            return await self._ask("renew", self._store.renew(checkpoints))
        except StoreUnavailable:
            return frozenset()

    async def settle(self, held: Reservation, used: Amounts, ended_at: float | None = None) -> tuple[Overshoot, ...]:
        """End the hold and count what was used, now or when the store is back."""
        return await self._end("settle", End(held, used, ended_at)) or ()

    async def cancel(self, held: Reservation) -> None:
        """End the hold and give back everything, now or when the store is back."""
        await self._end("cancel", End(held, None))

    async def look(self, realm: str, limits: tuple[AppliedLimit, ...]) -> tuple[LimitState, ...]:
        """Return where limits stand; nothing while the store is away."""
        if self._silent or not self.working:
            return ()
        try:
            return await self._ask("look", self._store.look(realm, limits))
        except StoreUnavailable:
            return ()

    async def _end(self, how: Operation, end: End) -> tuple[Overshoot, ...] | None:
        self._adopted.pop(end.held.id, None)
        if self._share is not None and self._share.store is not None:
            await self._share.store.settle(end.held, end.used or {})
        if self._silent or not self.working:
            self._owe(end)
            return None
        try:
            return await self._ask(how, self._told(end))
        except StoreUnavailable:
            self._owe(end)
            return None
        except BaseException:
            self._owe(end)
            raise

    async def _told(self, end: End) -> tuple[Overshoot, ...]:
        """Tell the store of an end."""
        if end.used is not None:
            return await self._store.settle(end.held, end.used, end.ended_at)
        await self._store.cancel(end.held)
        return ()

    async def _ask(self, operation: Operation, asking: Awaitable[T]) -> T:
        """Ask the store within the time limit, and have the breaker know how that went."""
        began = self._monotonic()
        ticket = self._breaker.admit(began)
        assert ticket is not None  # noqa: S101 - nobody comes here while it is open
        try:
            async with asyncio.timeout(self._policy.timeout):
                answer = await asking
        except (TimeoutError, StoreUnavailable) as error:
            self._watcher.failed(operation)
            told = error if isinstance(error, StoreUnavailable) else unavailable(f"no answer to {operation} in time")
            if not isinstance(told, StoreIncomplete):
                self._silent = True
                self._fail(ticket, told)
            raise told from error
        finally:
            self._watcher.took(operation, self._monotonic() - began)
        self._silent = False
        self._breaker.succeeded(ticket, self._monotonic())
        return answer

    async def _without(self, asked: Reservation, error: StoreUnavailable, *, sent: bool) -> Held | Refused:
        """Decide on a request without the store; ``sent`` when the store may have let it in all the same."""
        answer: Held | Refused | None = None
        try:
            answer = await self._decide(asked, error)
        finally:
            if isinstance(answer, Held):
                self._store.adopt(asked, answer.admitted_at)
                self._adopted[asked.id] = asked
                self._recover()
            elif sent:
                self._owe(End(asked, None))
        return answer

    async def _decide(self, asked: Reservation, error: StoreUnavailable) -> Held | Refused:
        if self._share is not None:
            return await self._share.reserve(asked)
        if self._policy.on_failure == "allow":
            now = self._unix()
            return Held(now + FIRST_LEASE, now, ())
        raise error

    def _owe(self, end: End) -> None:
        """Remember an end that the store is to be told of."""
        self._recover()
        dropped = self._arrears.add(end)
        if dropped is not None:
            self._store.forget(dropped)
            self._watcher.dropped()

    def _fail(self, ticket: int, error: StoreUnavailable) -> None:
        self._breaker.failed(ticket, self._monotonic())
        if self.working or self._away_since is not None:
            return
        self._away_since = self._monotonic()
        log.warning("limits cannot be counted", cause=error.detail, policy=self._policy.on_failure)
        self._recover()

    def _recover(self) -> None:
        """See to it that somebody looks whether the store is back, and tells it what it missed."""
        if self._recovery is None or self._recovery.done():
            self._recovery = self._spawn(self._recovering())

    async def _recovering(self) -> None:
        while self._arrears or self._adopted or not self.working:
            now = self._monotonic()
            await asyncio.sleep(max(0.0, self._breaker.opens_at(now) - now))
            ticket = self._breaker.admit(self._monotonic())
            if ticket is None:
                continue
            try:
                complete = await self._catch_up()
            except (TimeoutError, StoreUnavailable) as error:
                self._watcher.failed("ping")
                self._fail(ticket, error if isinstance(error, StoreUnavailable) else unavailable("no answer in time"))
                continue
            self._breaker.succeeded(ticket, self._monotonic())
            self._back()
            if not complete:
                await asyncio.sleep(_AGAIN)

    async def _catch_up(self) -> bool:
        """Tell the store what it missed: what runs is held, what ended counts; return whether it could take all."""
        async with asyncio.timeout(self._policy.timeout):
            await self._store.ping()
        incomplete: set[str] = set()
        for held in tuple(self._adopted.values()):
            if held.realm not in incomplete and held.id in self._adopted:
                await self._say(self._register(held), held.realm, incomplete)
        for end in self._arrears.all():
            if end.held.realm not in incomplete:
                await self._say(self._pay(end), end.held.realm, incomplete)
        return not incomplete

    async def _say(self, telling: Awaitable[None], realm: str, incomplete: set[str]) -> None:
        """Tell the store one thing; note a realm that it cannot count yet, which keeps nobody else."""
        try:
            async with asyncio.timeout(self._policy.timeout):
                await telling
        except StoreIncomplete:
            incomplete.add(realm)

    async def _register(self, held: Reservation) -> None:
        await self._store.renew([Checkpoint(held, held.spent)])
        self._adopted.pop(held.id, None)

    async def _pay(self, end: End) -> None:
        await self._told(end)
        self._arrears.told(end)

    async def close(self) -> None:
        """Tell the store what it missed, if it is there; what it is not told runs out with its lease."""
        if self._arrears:
            with suppress(TimeoutError, StoreUnavailable):
                async with asyncio.timeout(_LAST):
                    await self._catch_up()
        if self._arrears:
            log.warning("ends of requests are not counted in the limits", requests=len(self._arrears))

    def _back(self) -> None:
        self._silent = False
        if self._away_since is not None:
            seconds = round(self._monotonic() - self._away_since, 3)
            log.info("limits are counted again", seconds=seconds)
        self._away_since = None
        if self._share is not None:
            self._share.end()
