"""What one request takes from its limits, from the reservation to the settlement.

- A request is settled at what it used, also one that failed or whose client left; cancelled only if it ended through a
  fault of ours before Claude was asked.
- While it runs it says what it used so far whenever its lease is renewed.
- The ledger has its row before the first token goes out; what it waits for then is ``Job.booked``.
"""

from __future__ import annotations

import time

from gateway.core.call import Call
from gateway.core.errors import Forbidden, GatewayError, GatewayFault, InvalidRequest, RateLimited, StoreUnavailable
from gateway.core.quota.amounts import reservation, used
from gateway.core.quota.holds import ENDED, Checkpoint, Held, Refused, Reservation
from gateway.core.quota.limits import LimitSet
from gateway.core.quota.told import refused_in_words, too_much_in_words
from gateway.ledger.writer import LedgerUnavailable
from gateway.web.entries import admitted, checkpoint, ended_at
from gateway.web.record import Bill, Record
from gateway.web.services import Services

_OURS = 500


async def look(services: Services, record: Record, limits: LimitSet) -> None:
    """Note where the limits stand, for an answer to a request that takes nothing from them."""
    if record.principal is not None:
        record.states = await services.holds.look(
            limits.realm, limits.of_caller(record.principal.address, record.principal.end_user)
        )


async def take(services: Services, record: Record, limits: LimitSet, call: Call, *, unbounded: bool) -> Held:
    """Hold everything that a request may use, or refuse it; ``book`` is next, and ``give_back`` the end.

    Args:
        services: The gateway's parts.
        record: The request; whose it is has been noted.
        limits: What applies to whoever asks.
        call: What is asked for.
        unbounded: Whether the plans let it use what has no highest price.

    Raises:
        RateLimited: A limit is reached.
        InvalidRequest: It asks for more than a limit is, so that waiting does not help.
        Forbidden: It may cost any amount, and a limit is in dollars.
    """
    assert record.principal is not None  # noqa: S101 - who asks is known by now
    applied, worst = limits.of_caller(record.principal.address, record.principal.end_user), call.worst
    if worst is not None and worst.unbounded and not unbounded and any(limit.unit == "usd" for limit in applied):
        await look(services, record, limits)
        raise Forbidden(
            f"{worst.unbounded}: nobody can say before what this costs at most, and your plan is limited in dollars "
            "(allow_unbounded)."
        )
    asked = reservation(record.request_id, limits.realm, applied, worst, services.rate_hold)
    began = time.monotonic()
    answer = await services.holds.reserve(asked)
    record.stepped("reserve", began, RateLimited.code if isinstance(answer, Refused) else "")
    record.states = answer.states
    if isinstance(answer, Refused):
        raise _refusal(asked, answer)
    record.held = asked
    if worst is not None:
        record.presume(worst.entered_tokens, worst.input_usd_nano)
    services.streams.holds[asked.id] = _Holding(services, record, asked)
    services.metrics.quota.admitted(record.principal.tenant, answer.states)
    if answer.states:  # a store that is away tells none
        services.nearly_full.look(applied, answer.states, record.principal.tenant, time.time())
    return answer


async def give_back(services: Services, record: Record, limits: LimitSet, error: BaseException | None) -> None:
    """End the hold of a request; ``error`` is what ended it, if anything did."""
    held = record.held
    if held is None:
        return
    services.streams.holds.pop(held.id, None)
    if isinstance(error, GatewayError):
        record.fail(error)
    if _unserved(record, error):
        record.held = None
        services.metrics.quota.settled("cancelled")
        await services.holds.cancel(held)
        await look(services, record, limits)
        return
    record.end()
    began = time.monotonic()
    usage, cost = record.bill(services.prices)
    services.metrics.quota.settled("estimated" if usage is not None and usage.estimated else "exact")
    for over in await services.holds.settle(held, used(usage, cost), ended_at(record)):
        services.metrics.quota.overshot(over)
    record.stepped("settle", began)


class _Holding:
    """A request that holds a part of its limits."""

    __slots__ = ("_held", "_noted", "_record", "_services")

    def __init__(self, services: Services, record: Record, held: Reservation) -> None:
        self._services = services
        self._record = record
        self._held = held
        self._noted = held.spent

    def checkpoint(self) -> Checkpoint:
        """Return what it holds, and had used when it was noted last: if nobody ends it the ledger says the same."""
        return Checkpoint(self._held, self._noted)

    def note(self) -> None:
        """Note what it used so far: what Claude told, or before that what it costs to have asked."""
        record, services = self._record, self._services
        usage, cost = self._bill()
        if usage is not None:
            self._noted = used(usage, cost)
        if record.entry is not None:
            if usage is None:
                usage, cost = record.presumed()
            services.ledger.checkpoint(record.entry, checkpoint(usage, cost, self._model(), services.prices))

    def _bill(self) -> Bill:
        usage = None if self._record.fold is None else self._record.fold.usage()
        return usage, None if usage is None else self._services.prices.cost(self._model(), usage)

    def _model(self) -> str:
        return (self._record.fold.model if self._record.fold else None) or self._record.model


def book(services: Services, record: Record, held: Held) -> None:
    """Have the ledger write the request down, while Claude is asked.

    Raises:
        StoreUnavailable: It cannot, and the operator wants no request that is in no book.
    """
    entry = admitted(record, held, services.calendar, services.ledger_id)
    usage, cost = record.presumed()
    try:
        record.booking = services.ledger.admit(entry, checkpoint(usage, cost, record.model, services.prices))
    except LedgerUnavailable as error:
        unbooked(services, record, error)
    record.entry = entry


def unbooked(services: Services, record: Record, error: LedgerUnavailable) -> None:
    """Do what the operator wants of a request that no book has.

    Raises:
        StoreUnavailable: Refuse it.
    """
    services.metrics.quota.unbooked()
    if services.serve_unbooked:
        return
    raise StoreUnavailable("Requests cannot be accounted for at the moment. Try again shortly.", detail=str(error))


def _refusal(asked: Reservation, refused: Refused) -> GatewayError:
    if refused.retry_after is None and refused.limit != ENDED:
        return InvalidRequest(too_much_in_words(refused, asked))
    return RateLimited(
        refused_in_words(refused, time.time()),
        limit=refused.limit,
        retry_after=refused.retry_after,
        retryable=refused.retry_after is not None and not refused.spent,
    )


def _unserved(record: Record, error: BaseException | None) -> bool:
    """Whether it ends through a fault of ours before Claude was asked: the caller's limits are as if it had not been."""
    error = record.error or error
    if record.asked or error is None:
        return False
    if isinstance(error, GatewayError):
        return isinstance(error, GatewayFault) and error.status >= _OURS
    return isinstance(error, Exception) and not isinstance(error, ConnectionError)  # unforeseen
