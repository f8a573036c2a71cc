"""The writer's line to the database: a connection that is kept from one transaction to the next.

- SQLite commits without waiting for the disk, which takes ten times as long as the rest: what is committed survives the
  death of the process at once, and that of the machine after ``sync``, which waits for all of it together.
- PostgreSQL waits for its own disk at each commit; ``sync`` has nothing to do there.
- ``sync`` also gives the connection back: the pool looks whether the database is still the same, and nobody else
  waits for a connection for longer than between two of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from sqlalchemy import Connection, Engine

from gateway.database.errors import database_errors
from gateway.ledger.rows import Row
from gateway.ledger.statements import merge


class Line:
    """One thread's line.

    Args:
        engine: From ``open_database``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(access="add")
        self._sqlite = engine.dialect.name == "sqlite"
        self._connection: Connection | None = None
        self._log = ""  # SQLite's write-ahead log, which holds what was committed last

    @property
    def in_use(self) -> bool:
        """Whether there is something to ``sync``."""
        return self._connection is not None

    def write(self, rows: Iterable[Row]) -> None:
        """Merge rows in one transaction.

        Raises:
            DatabaseFailed: None of them is known to be there.
        """
        with database_errors("of the ledger"):
            try:
                connection = self._connected()
                with connection.begin():
                    merge(connection, rows)
            except BaseException:
                self._release()
                raise

    def sync(self) -> None:
        """Wait until all that was written is on the disk.

        Raises:
            DatabaseFailed: The disk fails.
        """
        with database_errors("of the ledger"):
            try:
                if self._connection is not None and self._sqlite:
                    _wait_for_disk(self._log)
            finally:
                self._release()

    def _connected(self) -> Connection:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._engine.connect()
            if self._sqlite:
                driver = connection.connection.driver_connection
                assert driver is not None  # noqa: S101 - it is connected
                driver.execute("PRAGMA synchronous=NORMAL")
                driver.execute("PRAGMA cache_size=-512")  # KiB: rows are written and not read
                self._log = f"{driver.execute('PRAGMA database_list').fetchone()[2]}-wal"
        return connection

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._sqlite and not connection.invalidated:
            driver = connection.connection.driver_connection
            assert driver is not None  # noqa: S101 - the same
            if not driver.in_transaction:
                driver.execute("PRAGMA synchronous=FULL")
            else:  # not one for others
                connection.invalidate()
        connection.close()


def _wait_for_disk(path: str) -> None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # it was merged into the database, which waits for the disk
        return
    try:
        os.fdatasync(file)
    finally:
        os.close(file)
