"""What the ledger has of this day and month, as counters of limits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from gateway.core.quota.calendar import Calendar, Span
from gateway.core.quota.limits import realm_of
from gateway.core.quota.rebuilt import Spent, counters
from gateway.ledger.books import Books, Ended, Sum


class Spending(NamedTuple):
    """What was used in this day and month.

    Attributes:
        spent: By day, tenant, key and end user.
        today: The day, YYYY-MM-DD.
    """

    spent: list[Spent]
    today: str

    def of(self, realm: str) -> Spending:
        """Return the part of one realm."""
        return Spending([some for some in self.spent if realm_of(some.tenant, some.key_id) == realm], self.today)

    def counters(self, parts: int = 1) -> Mapping[Span, Mapping[str, int]]:
        """Return what counts, by counter; divided among ``parts`` stores that count apart."""
        return counters(self.spent, self.today, parts)


def spending(books: Books, calendar: Calendar, *, tenant: str | None = None, ended: Ended | None = None) -> Spending:
    """Return what was used; see :meth:`~gateway.ledger.books.Books.spent`."""
    now = time.time()
    today, month = calendar.at("day", now).name, calendar.at("month", now).name
    return Spending([_spent(found) for found in books.spent(f"{month}-01", today, tenant=tenant, ended=ended)], today)


def _spent(found: Sum) -> Spent:
    day, tenant, key_id, end_user = found.of
    entered = found.input_tokens + found.cache_read_tokens + found.cache_write_5m_tokens + found.cache_write_1h_tokens
    return Spent(day, tenant, key_id, end_user, found.requests, entered, found.output_tokens, found.cost_nano_usd)
