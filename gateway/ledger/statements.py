"""The statement that writes rows: the same text every time, given to the driver as it is, past SQLAlchemy's compiler.

It may be given any row any number of times, in any order: a row replaces one that knows less, and one that is part of
the sums of its day is left alone for good.

Many rows are in one statement: after each a thread has to ask for the interpreter's lock again, which an event loop
that never rests gives away late. To PostgreSQL they go as one JSON value, an eighth of the work of as many parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import chain

import orjson
from sqlalchemy import BigInteger, Boolean, Connection, Double, Integer, SmallInteger, Text

from gateway.ledger.rows import COLUMNS, Admitted, Row, storable
from gateway.ledger.tables import requests

_CHANGING = COLUMNS[len(Admitted._fields) :]
_ID, _STATE, _AT = (COLUMNS.index(name) for name in ("request_id", "state", "checkpoint_at"))
# Rows of a statement of SQLite: a power of two, so that there are few texts and the driver keeps them prepared.
_MOST = 128

_INTO = f"INSERT INTO requests ({', '.join(COLUMNS)}) "
_ON_CONFLICT = (
    f" ON CONFLICT (request_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CHANGING)} "
    "WHERE (excluded.state, excluded.checkpoint_at) > (requests.state, requests.checkpoint_at) "
    "AND requests.rolled = 0"
)
_TYPES = {
    Text: "text",
    Boolean: "boolean",
    SmallInteger: "smallint",
    Integer: "integer",
    BigInteger: "bigint",
    Double: "double precision",
}
_FIELDS = ", ".join(f"{name} {_TYPES[type(requests.c[name].type)]}" for name in COLUMNS)
_POSTGRESQL = f"{_INTO}SELECT * FROM json_to_recordset(%s::json) AS told ({_FIELDS}){_ON_CONFLICT}"  # noqa: S608 - no values


def merge(connection: Connection, rows: Iterable[Row]) -> None:
    """Write rows in the caller's transaction."""
    best = _best(rows)
    if connection.dialect.name == "postgresql":
        told = orjson.dumps([dict(zip(COLUMNS, row, strict=True)) for row in best]).decode()
        connection.exec_driver_sql(_POSTGRESQL, (told,))
        return
    start = 0
    while left := len(best) - start:
        size = min(_MOST, 1 << (left.bit_length() - 1))
        connection.exec_driver_sql(_sqlite(size), tuple(chain.from_iterable(best[start : start + size])))
        start += size


def _best(rows: Iterable[Row]) -> list[Row]:
    """Return one row of each request, ordered by id: two who write the same rows wait for each other in turn."""
    best: dict[object, Row] = {}
    for row in rows:
        known = best.get(row[_ID])
        if known is None or _knowledge(row) > _knowledge(known):
            best[row[_ID]] = row
    return sorted(map(storable, best.values()), key=_id)


def _id(row: Row) -> str:
    return str(row[_ID])


def _knowledge(row: Row) -> tuple[float, float]:
    return float(row[_STATE] or 0), float(row[_AT] or 0)


@cache
def _sqlite(rows: int) -> str:
    one = f"({', '.join('?' * len(COLUMNS))})"
    return f"{_INTO}VALUES {', '.join([one] * rows)}{_ON_CONFLICT}"
