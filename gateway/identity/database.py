"""The SQLite file of tenants and keys: how it is made, opened and found again.

- A new file and its directory are for their owner only (0600, 0700), before anything is in them.
- A connection never makes a file: if the database goes away while the gateway runs, reads fail, and a connection to
  a file that was replaced (a restored backup) is noticed at its next use and opened anew.
- Reads and writes are real transactions. A write takes the lock at its start (BEGIN IMMEDIATE), so that two
  operators wait for each other instead of failing half-way.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, exc, insert, inspect, make_url, select

from gateway.identity import tables
from gateway.identity.errors import DatabaseFailed, Refused

_ALLOWED = "allowed: a SQLite file, as in sqlite:///./data/tokenweir.db"


def open_database(url: str, *, busy_timeout: float = 5.0) -> Engine:
    """Open the database of ``url``, and make it first if it is missing. Dispose of the engine at the end.

    Args:
        url: ``sqlite:///path``.
        busy_timeout: Seconds to wait for another process's lock.

    Raises:
        Refused: The URL is not one of a SQLite file.
        DatabaseFailed: It cannot be made or opened, or a newer version of the program made it.
    """
    path = path_of(url)
    engine = _engine(path, busy_timeout)
    try:
        with database_errors(path):
            _make_file(path)
            with transaction(engine, write=True) as connection:
                _make_schema(connection, path)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def database_errors(name: object) -> Iterator[None]:
    """Map what SQLAlchemy, SQLite and the file system raise; the sentence holds no statement and no value."""
    try:
        yield
    except exc.DBAPIError as error:
        raise DatabaseFailed(f"the database {name} cannot be used: {error.orig}") from error
    except sqlite3.Error as error:  # from a hook on new connections, which SQLAlchemy does not wrap
        raise DatabaseFailed(f"the database {name} cannot be used: {error}") from error
    except exc.SQLAlchemyError as error:
        raise DatabaseFailed(f"the database {name} cannot be used: {type(error).__name__}") from error
    except OSError as error:
        raise DatabaseFailed(f"the database {name} cannot be used: {error.strerror or error}") from error


@contextmanager
def transaction(engine: Engine, *, write: bool) -> Iterator[Connection]:
    """Run a transaction that sees one state of the database; committed at the end, rolled back by an exception."""
    with engine.execution_options(write=write).begin() as connection:
        yield connection


def path_of(url: str) -> Path:
    """Return the file of a ``database_url``.

    Raises:
        Refused: It is not one of a SQLite file; the sentence shows nothing of it.
    """
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise Refused(f"database_url is not a URL; {_ALLOWED}") from None
    if parsed.get_backend_name() != "sqlite":
        raise Refused(f"database_url is of type {parsed.get_backend_name()}, which is not supported; {_ALLOWED}")
    if parsed.database in {None, "", ":memory:"}:
        raise Refused(f"database_url names no file; {_ALLOWED}")
    return Path(str(parsed.database)).absolute()


def _make_file(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        if path.is_file():
            return
        where = "data_dir, or database_url if it is set, says where it is"
        raise DatabaseFailed(f"the database {path} cannot be used: {error.strerror}; {where}") from error


def _make_schema(connection: Connection, path: Path) -> None:
    if inspect(connection).has_table(tables.schema_version.name):
        found = connection.scalar(select(tables.schema_version.c.version))
        if found != tables.SCHEMA_VERSION:
            raise DatabaseFailed(
                f"the database {path} has schema {found}, this version of tokenweir knows {tables.SCHEMA_VERSION}; "
                "run the version that made it"
            )
        return
    tables.metadata.create_all(connection)
    connection.execute(insert(tables.schema_version).values(version=tables.SCHEMA_VERSION))
    connection.execute(insert(tables.revision).values(single=1, number=0))


def _engine(path: Path, busy_timeout: float) -> Engine:
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
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "checkout")
    def still_the_same_file(_connection: sqlite3.Connection, record: Any, _proxy: Any) -> None:
        if record.info["file"] != _identity_of(path):
            raise exc.DisconnectionError("the database file was replaced")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write") else "BEGIN")

    return engine


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
