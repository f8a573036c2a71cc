"""Budgets of which little is left: counted with each request that is let in, and logged once in each period."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import structlog

from gateway.core.quota.holds import LimitState
from gateway.core.quota.limits import AppliedLimit

log = structlog.get_logger()


class NearlyFull:
    """Watches budgets.

    Args:
        share: From which share of it on a budget is nearly full.
        count: Told of a limit's name with each request.
        most: Counters remembered as logged of, about 200 bytes each; past it the oldest may be logged of again.
    """

    def __init__(self, share: float, count: Callable[[str], None], most: int = 10_000) -> None:
        self.share = share
        self._count = count
        self._most = most
        self._logged: OrderedDict[str, float] = OrderedDict()

    def look(self, limits: Sequence[AppliedLimit], states: Sequence[LimitState], tenant: str, now: float) -> None:
        """Look at the limits of a request that was let in, at ``now`` in Unix seconds."""
        for limit, state in zip(limits, states, strict=True):
            if state.span is not None and state.used + state.held >= self.share * state.limit:
                self._count(state.name)
                self._log(limit, state, tenant, now)

    def _log(self, limit: AppliedLimit, state: LimitState, tenant: str, now: float) -> None:
        if self._logged.get(limit.key, 0.0) > now:
            return
        self._logged[limit.key] = now + (state.reset or 0.0)
        if len(self._logged) > self._most:
            self._logged.popitem(last=False)
        share = round((state.used + state.held) / state.limit, 3)
        log.warning("a limit is nearly used up", tenant=tenant, limit=state.name, share=share)
