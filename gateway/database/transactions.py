"""Transactions, the same on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sqlalchemy import Connection, Engine

Access = Literal["read", "change", "add"]


@contextmanager
def transaction(engine: Engine, access: Access) -> Iterator[Connection]:
    """Run a transaction; committed at the end, rolled back by an exception.

    Args:
        engine: From ``open_database``.
        access: ``read`` sees one state of the database. ``change`` is the only change while it lasts: what it has read
            stays so. ``add`` is for rows that depend on no others; on PostgreSQL it waits for nobody.
    """
    with _options(engine, access).begin() as connection:
        yield connection


def _options(engine: Engine, access: Access) -> Engine:
    if access == "read" and engine.dialect.name == "postgresql":
        return engine.execution_options(access=access, isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine.execution_options(access=access)
