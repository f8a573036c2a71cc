"""Where the database is, from ``database_url``. Nothing is opened, and no error shows any of the URL."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, exc, make_url

from gateway.database.errors import Refused

ALLOWED = (
    "allowed: a SQLite file, as in sqlite:///./data/tokenweir.db, or a PostgreSQL database, as in "
    "postgresql://user:password@host/name"
)
_POSTGRESQL = frozenset({"postgresql", "postgres", "postgresql+psycopg"})


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A file on this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PostgresqlServer:
    """A database on a server."""

    url: URL

    def __str__(self) -> str:
        return f"{self.url.database} on {self.url.host or self.url.query.get('host') or 'this machine'}"


def parse_address(url: str) -> SqliteFile | PostgresqlServer:
    """Return the place that a ``database_url`` means.

    Raises:
        Refused: It is neither a SQLite file nor a PostgreSQL database, or the driver is not installed.
    """
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        raise Refused(f"database_url is not a URL; {ALLOWED}") from None
    if parsed.drivername in _POSTGRESQL:
        return _server(parsed)
    if parsed.get_backend_name() != "sqlite":
        raise Refused(f"database_url is of type {parsed.drivername}, which is not supported; {ALLOWED}")
    if parsed.database in {None, "", ":memory:"}:
        raise Refused(f"database_url names no file; {ALLOWED}")
    return SqliteFile(Path(str(parsed.database)).absolute())


def _server(url: URL) -> PostgresqlServer:
    if not url.database:
        raise Refused(f"database_url names no database; {ALLOWED}")
    if find_spec("psycopg") is None:
        raise Refused(
            "database_url is of type postgresql, whose driver is not installed: pip install 'tokenweir[postgresql]'"
        )
    return PostgresqlServer(url.set(drivername="postgresql+psycopg"))
