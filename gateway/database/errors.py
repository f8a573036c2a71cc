"""What stops an operator's change: sentences for a command line, never sent to a client.

StoreError
├── Refused         the change or the setting makes no sense; the sentence says why and what would
└── DatabaseFailed  the database cannot be read or written now
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc


class StoreError(Exception):
    """Base of both."""


class Refused(StoreError):
    """A change that the store's rules do not allow; nothing was written."""


class DatabaseFailed(StoreError):
    """The database is missing, locked, damaged, too new or does not answer; what was under way was not committed.

    One exception: a PostgreSQL server that is lost during a commit may have it. Write what may be written twice.
    """


@contextmanager
def database_errors(name: object) -> Iterator[None]:
    """Map what SQLAlchemy, the drivers and the file system raise; the sentence holds no statement and no value."""
    try:
        yield
    except exc.DBAPIError as error:
        raise DatabaseFailed(f"the database {name} cannot be used: {_said(error.orig)}") from error
    except sqlite3.Error as error:  # from a hook on new connections, which SQLAlchemy does not wrap
        raise DatabaseFailed(f"the database {name} cannot be used: {error}") from error
    except exc.SQLAlchemyError as error:
        raise DatabaseFailed(f"the database {name} cannot be used: {type(error).__name__}") from error
    except OSError as error:
        raise DatabaseFailed(f"the database {name} cannot be used: {error.strerror or error}") from error


def _said(error: BaseException | None) -> str:
    """Return the driver's reason as one line. A PostgreSQL server's detail, which is not in it, quotes values."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return " ".join(str(primary or error).split())
