"""What one request takes from its limits, from the reservation to the settlement.

- A request is settled at what it used, also one that failed or whose client left; cancelled only if it ended through a
  fault of ours before Claude was asked.
- While it runs it says what it used so far whenever its lease is renewed.
"""

from __future__ import annotations

import time
from functools import partial

from gateway.core.call import Call
from gateway.core.errors import Forbidden, GatewayError, GatewayFault, InvalidRequest, RateLimited
from gateway.core.quota.amounts import reservation, used
from gateway.core.quota.holds import ENDED, Amounts, Refused, Reservation
from gateway.core.quota.limits import LimitSet
from gateway.core.quota.told import refused_in_words, too_much_in_words
from gateway.web.record import Record
from gateway.web.services import Services

_OURS = 500


async def look(services: Services, record: Record, limits: LimitSet) -> None:
    """Note where the limits stand, for an answer to a request that takes nothing from them."""
    if record.principal is not None:
        record.states = await services.holds.look(
            limits.of_caller(record.principal.address, record.principal.end_user)
        )


async def take(services: Services, record: Record, limits: LimitSet, call: Call, *, unbounded: bool) -> None:
    """Hold everything that a request may use, or refuse it.

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
    asked = reservation(record.request_id, applied, worst, services.rate_hold)
    answer = await services.holds.reserve(asked)
    record.states = answer.states
    if isinstance(answer, Refused):
        raise _refusal(asked, answer)
    record.held = asked
    if worst is not None:
        record.presume(worst.entered_tokens, worst.input_usd_nano)
    services.streams.holds[asked.id] = partial(_so_far, services, record, asked)
    services.metrics.quota.admitted(record.principal.tenant, answer.states)


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
        await services.holds.cancel(held.id)
        await look(services, record, limits)
        return
    usage, cost = record.bill(services.prices)
    services.metrics.quota.settled("estimated" if usage is not None and usage.estimated else "exact")
    for over in await services.holds.settle(held.id, used(usage, cost)):
        services.metrics.quota.overshot(over)


def _so_far(services: Services, record: Record, held: Reservation) -> Amounts:
    """Return what was used so far: what Claude told, or before that what it costs to have asked."""
    usage = None if record.fold is None else record.fold.usage()
    if usage is None:
        return held.spent
    model = (record.fold.model if record.fold else None) or record.model
    return used(usage, services.prices.cost(model, usage))


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
