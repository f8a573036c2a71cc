"""Statements that are the same text every time: the driver is given them as they are, past SQLAlchemy's compiler.

``merge`` writes rows of ``rows.COLUMNS``. It may be given any row any number of times, in any order: a row replaces one
that knows less, and one that is part of the sums of its day is left alone for good.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from gateway.ledger.rows import COLUMNS, Admitted, Row

_CHANGING = COLUMNS[len(Admitted._fields) :]


def _merge(mark: str) -> str:
    sets = ", ".join(f"{name} = excluded.{name}" for name in _CHANGING)
    return (
        f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({', '.join([mark] * len(COLUMNS))}) "  # noqa: S608 - no values
        f"ON CONFLICT (request_id) DO UPDATE SET {sets} "
        "WHERE (excluded.state, excluded.checkpoint_at) > (requests.state, requests.checkpoint_at) "
        "AND requests.rolled = 0"
    )


_MERGE = {"sqlite": _merge("?"), "postgresql": _merge("%s")}


def merge(connection: Connection, rows: Sequence[Row]) -> None:
    """Write rows in the order they are given, in the caller's transaction."""
    connection.exec_driver_sql(_MERGE[connection.dialect.name], list(rows))
