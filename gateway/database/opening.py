"""Opening the database, made or brought up to date first."""

from __future__ import annotations

from sqlalchemy import Engine

from gateway.database.address import PostgresqlServer, SqliteFile, parse_address
from gateway.database.errors import Refused, database_errors
from gateway.database.postgresql import postgresql_engine
from gateway.database.schema import bring_up_to_date
from gateway.database.sqlite import make_file, sqlite_engine

LOOK_TIMEOUT = 5.0


def open_database(url: str, *, busy_timeout: float = 5.0) -> Engine:
    """Open the database of ``url``, with the schema that this version knows. Dispose of the engine at the end.

    A SQLite file is made if it is missing; a PostgreSQL database must be there.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
        busy_timeout: Seconds to wait for another's lock.

    Raises:
        Refused: The URL is not one of these.
        DatabaseFailed: It cannot be made or opened, or a newer version of the program made it.
    """
    address = parse_address(url)
    with database_errors(address):
        engine = _engine(address, busy_timeout)
        try:
            bring_up_to_date(engine, address)
        except BaseException:
            engine.dispose()
            raise
    return engine


def look_at_database(url: str) -> Engine:
    """Open the database of ``url`` as it is: nothing is made, nothing is upgraded. Dispose of the engine at the end.

    Raises:
        Refused: The URL is none, or its file is missing.
    """
    address = parse_address(url)
    if isinstance(address, PostgresqlServer):
        return postgresql_engine(address.url, LOOK_TIMEOUT)
    if not address.path.is_file():
        raise Refused(
            f"there is no database {address} yet; `tokenweir db upgrade` or the gateway's first start makes it"
        )
    return sqlite_engine(address.path, LOOK_TIMEOUT)


def _engine(address: SqliteFile | PostgresqlServer, busy_timeout: float) -> Engine:
    if isinstance(address, PostgresqlServer):
        return postgresql_engine(address.url, busy_timeout)
    make_file(address.path)
    return sqlite_engine(address.path, busy_timeout)
