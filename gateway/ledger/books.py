"""What the ledger is asked and what is done to it as a whole. Synchronous: for commands and for worker threads.

- Sums are read from ``usage_days`` and from the rows that are not in it yet (``rolled = 0``, an index finds them): none
  reads what was summed up already.
- ``roll_up`` marks rows and adds what it marked, in one transaction: each row is in the days once. From then on the row
  does not change, so one that was ended in the name of a dead worker is left out for ``GRACE``: its worker may live.
- Every method raises DatabaseFailed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from gateway.database.errors import database_errors
from gateway.database.sqlite import forget
from gateway.database.transactions import Access, transaction
from gateway.ledger.rows import Row, State
from gateway.ledger.statements import merge
from gateway.ledger.tables import TOKENS, requests, usage_days

# Seconds in which a request that was ended for its worker may still be ended by it; as long as the limits remember one.
GRACE = 3600.0

By = Literal["day", "model", "key", "user", "tenant"]

_SUMS = ("requests", *TOKENS, "cost_nano_usd")
_KEYS = ("day", "tenant", "key_id", "end_user", "model")
_BY: dict[By, str] = {"day": "day", "model": "model", "key": "key_id", "user": "end_user", "tenant": "tenant"}

_DAYS: Mapping[str, ColumnElement[Any]] = {name: usage_days.c[name] for name in (*_KEYS, *_SUMS)}
# A request as ``usage_days`` has it; the model is the one that answered, if it is known.
_AS_DAYS: Mapping[str, ColumnElement[Any]] = {
    **{name: requests.c[name] for name in (*_KEYS, *TOKENS, "cost_nano_usd")},
    "model": func.coalesce(requests.c.model_answered, requests.c.model),
    "requests": requests.c.counted,
}


class Sum(NamedTuple):
    """What some requests have used together; what they share is in ``of``."""

    of: tuple[str, ...]
    requests: int
    input_tokens: int
    output_tokens: int
    thinking_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    web_search_requests: int
    cost_nano_usd: int


class Ended(NamedTuple):
    """Which requests count as ended, Unix seconds.

    Attributes:
        by: Those that ended up to then.
        claimed_by: Of those that were ended for a worker that is gone, those whose lease was over by then.
    """

    by: float
    claimed_by: float


class Claimed(NamedTuple):
    """A request that was ended in the name of a worker that is gone."""

    request_id: str
    tenant: str
    worker_id: str


class Books:
    """The whole ledger. The caller disposes of the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, now: float) -> list[Claimed]:
        """End the requests whose lease is over, at what they had used; of several who ask each gets its own."""
        ended = {"state": State.CLAIMED, "ended_at": requests.c.lease_until, "kind": "error"}
        statement = (
            update(requests)
            .where(requests.c.state == State.OPEN, requests.c.lease_until < now)
            .values(**ended, error_code="worker_lost", status=499)
            .returning(requests.c.request_id, requests.c.tenant, requests.c.worker_id)
        )
        with self._transaction("add") as connection:
            return [Claimed(*row) for row in connection.execute(statement)]

    def request(self, request_id: str) -> Mapping[str, Any] | None:
        """Return a row by names of columns, None if there is none (any more)."""
        with self._transaction("read") as connection:
            statement = select(requests).where(requests.c.request_id == request_id)
            row = connection.execute(statement).mappings().one_or_none()
            return None if row is None else dict(row)

    def usage(self, first: str, last: str, by: By, filters: Mapping[str, str] | None = None) -> list[Sum]:
        """Return sums of all requests that ended, in the order of what they are by.

        Args:
            first: Day, YYYY-MM-DD.
            last: Day, included.
            by: What the requests of a sum share.
            filters: Values of tenant, key_id, end_user or model; only requests that have them are in the sums.
        """
        return self._sums(first, last, (_BY[by],), filters or {}, requests.c.state != State.OPEN)

    def spent(self, first: str, last: str, *, tenant: str | None = None, ended: Ended | None = None) -> list[Sum]:
        """Return sums of each day, tenant, key and end user: what budgets are made of when their store was lost.

        Args:
            first: Day, YYYY-MM-DD.
            last: Day, included.
            tenant: Only this one's.
            ended: Only what ended. Else requests that still run count, at their last checkpoint: where the store is
                the process' own they are those of one that is gone.
        """
        counted = true() if ended is None else _ended(ended)
        filters = {} if tenant is None else {"tenant": tenant}
        return self._sums(first, last, ("day", "tenant", "key_id", "end_user"), filters, counted)

    def roll_up(self, now: float, most: int = 2_000) -> int:
        """Add at most so many rows to their days; return how many. Call it until it returns 0.

        Admissions wait for it with SQLite: it is to take less than the writer's limit.
        """
        with self._transaction("change") as connection:
            following = select(func.coalesce(func.max(requests.c.rolled), 0) + 1)
            number = int(connection.execute(following).scalar_one())
            some = select(requests.c.request_id).where(_settled(now)).limit(most)
            marked = update(requests).where(requests.c.request_id.in_(some), requests.c.rolled == 0)
            count = connection.execute(marked.values(rolled=number)).rowcount
            if count:
                _add(connection, _grouped(_AS_DAYS, requests.c.rolled == number))
            return count

    def prune(self, before: str, most: int = 2_000) -> int:
        """Delete at most so many rows of earlier days that are in the sums; return how many. Call it until 0.

        A row that comes once more afterwards counts twice: have the journals of dead processes handed over first.
        """
        # They are looked for without the lock that admissions need: the last look goes through all that stay.
        with self._transaction("read") as connection:
            statement = select(requests.c.request_id).where(requests.c.rolled > 0, requests.c.day < before)
            found = connection.scalars(statement.limit(most)).all()
        if found:
            with self._transaction("change") as connection:
                one = delete(requests).where(requests.c.request_id == bindparam("pruned"))
                connection.execute(one, [{"pruned": request_id} for request_id in found])
        return len(found)

    def erase(self, end_user: str) -> int:
        """Forget who an end user was; what was used stays with the key. Return how many rows and sums were changed.

        Rows that a journal holds come back with their user: have it handed over first.
        """
        with self._transaction("change") as connection:
            theirs = usage_days.c.end_user == end_user
            rows = connection.execute(update(requests).where(requests.c.end_user == end_user).values(end_user=""))
            anonymous = {**_DAYS, "end_user": literal("").label("end_user")}
            _add(connection, select(*anonymous.values()).where(theirs))
            sums = connection.execute(delete(usage_days).where(theirs))
            return rows.rowcount + sums.rowcount

    def take(self, rows: Sequence[Row]) -> None:
        """Write rows that a journal held."""
        with self._transaction("add") as connection:
            merge(connection, rows)

    def scrub(self, end_user: str) -> bool:
        """Have nothing of an end user who was erased stay in SQLite's files; False if others hinder it, try again.

        PostgreSQL decides by itself when it uses the space again (VACUUM).
        """
        with database_errors("of the ledger"):
            return self._engine.dialect.name != "sqlite" or forget(self._engine, end_user)

    def _sums(
        self, first: str, last: str, of: tuple[str, ...], filters: Mapping[str, str], counted: ColumnElement[bool]
    ) -> list[Sum]:
        # Each part is summed up by itself: a union of all their rows would be written down before it is added up.
        days = _grouped(_DAYS, usage_days.c.day.between(first, last), of, filters)
        recent = and_(requests.c.rolled == 0, counted, requests.c.day.between(first, last))
        both = days.union_all(_grouped(_AS_DAYS, recent, of, filters)).subquery()
        shared = [both.c[name] for name in of]
        statement = select(*shared, *(func.sum(both.c[name]) for name in _SUMS)).group_by(*shared).order_by(*shared)
        with self._transaction("read") as connection:
            rows = connection.execute(statement).all()
        return [Sum(tuple(row[: len(of)]), *map(int, row[len(of) :])) for row in rows]

    @contextmanager
    def _transaction(self, access: Access) -> Iterator[Connection]:
        with database_errors("of the ledger"), transaction(self._engine, access) as connection:
            yield connection


def _ended(ended: Ended) -> ColumnElement[bool]:
    done = and_(requests.c.state == State.DONE, requests.c.ended_at <= ended.by)
    return or_(done, and_(requests.c.state == State.CLAIMED, requests.c.ended_at <= ended.claimed_by))


def _settled(now: float) -> ColumnElement[bool]:
    """Say which rows will not change any more and are in no sum."""
    for_good = and_(requests.c.state == State.CLAIMED, requests.c.lease_until < now - GRACE)
    return and_(requests.c.rolled == 0, or_(requests.c.state == State.DONE, for_good))


def _grouped(
    columns: Mapping[str, ColumnElement[Any]],
    where: ColumnElement[bool],
    of: tuple[str, ...] = _KEYS,
    filters: Mapping[str, str] = MappingProxyType({}),
) -> Select[Any]:
    """Return sums of rows whose columns are named as those of ``usage_days``."""
    keys = [columns[name].label(name) for name in of]
    sums = [func.sum(columns[name]).label(name) for name in _SUMS]
    having = [columns[name] == value for name, value in filters.items()]
    return select(*keys, *sums).where(where, *having).group_by(*(columns[name] for name in of))


def _add(connection: Connection, rows: Select[Any]) -> None:
    """Add sums to those of their days."""
    names = [*_KEYS, *_SUMS]
    # Not a conflict's WHERE but the parser of SQLite wants one: without it ON could belong to a join.
    source = rows.subquery()
    chosen = select(*(source.c[name] for name in names)).where(source.c.requests > 0)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(usage_days).from_select(names, chosen)
    added = {name: usage_days.c[name] + statement.excluded[name] for name in _SUMS}
    connection.execute(statement.on_conflict_do_update(index_elements=list(_KEYS), set_=added))
