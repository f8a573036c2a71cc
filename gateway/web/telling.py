"""Telling of the requests that ended: to the ledger, to the metrics, and to the log.

- What ended is told together, within ``[log] gather``: what telling needs is fetched into the processor's caches once
  and not for each request between the work of others. While it is told others wait, so it is told soon.
- Nothing is lost in order: a scrape and the end of the process tell what waits. A process that is killed takes the
  last milliseconds with it.
- A fault in the telling of one request is logged, and keeps no other from being told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from gateway.core.errors import forget_way
from gateway.core.outcome import Outcome
from gateway.core.pricing import PriceBook
from gateway.ledger.rows import Admitted, Completed
from gateway.traces import Ended
from gateway.web.entries import completed
from gateway.web.record import Record

# Outcomes, for half a millisecond: for so long others may wait.
_AT_ONCE = 8


def _unbooked(_: Admitted, __: Completed) -> None:
    """Keep no books."""


class Telling:
    """Makes the one outcome of each request, and tells it.

    Args:
        prices: What tokens cost.
        observe: Counts an outcome.
        log_outcome: Logs one, with the client's address.
        log_fault: Logs what went wrong, with the request's id.
        gather: Seconds for which outcomes may wait for others; 0 tells each at once.
        together: Gives what the outcomes that are told together are logged in.
        book: Takes the end of a request whose beginning the ledger has.
        trace: Takes a request that is traced and was relayed; None where there are no traces.
    """

    def __init__(
        self,
        prices: PriceBook,
        observe: Callable[[Outcome], None],
        log_outcome: Callable[[Outcome, str | None], None],
        log_fault: Callable[[BaseException, str], None],
        gather: float,
        together: Callable[[], AbstractContextManager[None]] = nullcontext,
        book: Callable[[Admitted, Completed], None] = _unbooked,
        trace: Callable[[Ended], None] | None = None,
    ) -> None:
        self._prices = prices
        self._observe = observe
        self._log_outcome = log_outcome
        self._log_fault = log_fault
        self._gather = gather
        self._together = together
        self._book = book
        self._trace = trace
        self._ended: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, record: Record) -> None:
        """Take a request that ended, once."""
        record.end()
        self._ended.append(record)
        if not self._gather:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._gather, self._flush_some)

    def flush(self) -> None:
        """Tell what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ended, self._ended = self._ended, []
        self._tell_all(ended)

    def _flush_some(self) -> None:
        """Tell what waits, of very many the first: streams that go on do not wait for thousands that ended at once."""
        ended, self._ended = self._ended[:_AT_ONCE], self._ended[_AT_ONCE:]
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(0, self._flush_some) if self._ended else None
        self._tell_all(ended)

    def _tell_all(self, ended: list[Record]) -> None:
        with self._together():
            for record in ended:
                self._tell(record)

    def _tell(self, record: Record) -> None:
        try:
            outcome = record.outcome(self._prices)
            if record.entry is not None:
                self._book(record.entry, completed(record.entry, outcome, self._prices, counted=record.held is not None))
            self._observe(outcome)
            self._log_outcome(outcome, record.address)
            if self._trace is not None and record.steps is not None and outcome.dialect != "none":
                self._trace(record.traced(outcome))
        except Exception as error:  # noqa: BLE001 - the others are to be told all the same
            self._log_fault(error, record.request_id)
        forget_way(record.error)
