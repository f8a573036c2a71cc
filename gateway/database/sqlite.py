"""The SQLite file: how it is made, opened and found again.

- A new file and its directory are for their owner only (0600, 0700), before anything is in them.
- A connection never makes a file: if the database goes away while the gateway runs, reads fail, and a connection to
  a file that was replaced (a restored backup) is noticed at its next use and opened anew.
- Reads and writes are real transactions. A write takes the lock at its start (BEGIN IMMEDIATE), so that two
  operators wait for each other instead of failing half-way.
- What is committed is on the disk (synchronous=FULL).
- What is deleted or changed is overwritten in the file (secure_delete) once the log is emptied, but for what SQLite has
  copied while it moved rows from page to page: ``forget`` looks for that.
"""

from __future__ import annotations

import mmap
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, exc

from gateway.database.errors import DatabaseFailed


def make_file(path: Path) -> None:
    """Make the file and its directory, if they are missing.

    Raises:
        DatabaseFailed: No file can be there; the sentence names the settings that say where it is.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        if path.is_file():
            return
        where = "data_dir, or database_url if it is set, says where it is"
        raise DatabaseFailed(f"the database {path} cannot be used: {error.strerror}; {where}") from error


def sqlite_engine(path: Path, busy_timeout: float) -> Engine:
    """Return the engine of a file; it opens nothing yet.

    Args:
        path: Absolute.
        busy_timeout: Seconds to wait for another's lock, and for a connection of the pool.
    """
    address = URL.create("sqlite", database=f"file:{quote(str(path))}", query={"uri": "true", "mode": "rw"})
    engine = create_engine(
        address,
        poolclass=QueuePool,
        pool_timeout=busy_timeout,
        connect_args={"timeout": busy_timeout, "check_same_thread": False},
        hide_parameters=True,
    )

    # The driver's own transactions skip SELECT and DDL; SQLAlchemy's documentation of SQLite has this remedy.
    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None
        record.info["file"] = _identity_of(path)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "checkout")
    def still_the_same_file(_connection: sqlite3.Connection, record: Any, _proxy: Any) -> None:
        if record.info["file"] != _identity_of(path):
            raise exc.DisconnectionError("the database file was replaced")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        access = connection.get_execution_options().get("access", "read")
        connection.exec_driver_sql("BEGIN" if access == "read" else "BEGIN IMMEDIATE")

    return engine


def damage(engine: Engine) -> list[str]:
    """Return what SQLite finds wrong with the file, nothing if it is whole; reads all of it."""
    with _driver(engine) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)").fetchall()]
    return [] if found == ["ok"] else found


def back_up(engine: Engine, target: Path) -> None:
    """Copy the database as it is at one moment into a new file, while others write to it."""
    make_new(target)
    with _driver(engine) as connection, closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)


def make_new(path: Path) -> None:
    """Make an empty file for its owner only; one that is there is left alone: a FileExistsError."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def forget(engine: Engine, text: str) -> bool:
    """Have no file of the database hold a text that no row holds any more; False if others hinder it, try again.

    If SQLite has left a copy of it beside the rows, the file is written anew, which takes its size on the disk again.
    """
    with _driver(engine) as connection:
        if not _empty_log(connection):
            return False
        path = Path(connection.execute("PRAGMA database_list").fetchone()[2])
        if not _holds(path, text.encode()):
            return True
        try:
            connection.execute("VACUUM")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return False
            raise
        return _empty_log(connection)


@contextmanager
def _driver(engine: Engine) -> Iterator[sqlite3.Connection]:
    connection = engine.raw_connection()
    try:
        driver = connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - it is of this module
        yield driver
    finally:
        connection.close()


def _empty_log(connection: sqlite3.Connection) -> bool:
    """Have all changes written to the file itself; False if somebody still reads what was before them."""
    found = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return found is not None and found[0] == 0


def _holds(path: Path, text: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text) >= 0


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
