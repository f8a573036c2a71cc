"""The version of the schema: told by one plain statement, brought up to date by Alembic when it is old.

- A revision's name is its number, or number and the oldest one whose program still works on it: ``0007_serves_0005``.
  So a program that is older than the database knows whether it may use it, and two versions can be live on one
  database while a new one is rolled out. A revision that takes away what the version before needs has no such name.
- Alembic costs 9 MiB and 0.12 s, and is not imported while the version is the one that this program knows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from sqlalchemy import Connection, Engine, inspect

from gateway.database.errors import DatabaseFailed
from gateway.database.transactions import transaction

# Every revision in ``migrations/versions``, the oldest first.
REVISIONS = ("0001", "0002", "0003")

_NAME = re.compile(r"(\d{4})(?:_serves_(\d{4}))?")
_MIGRATIONS = Path(__file__).parent / "migrations"

State = Literal["missing", "old", "current", "newer", "too new"]


class Schema(NamedTuple):
    """What a database has: ``newer`` still serves this program, ``too new`` does not."""

    revision: str | None
    state: State


def read_schema(engine: Engine) -> Schema:
    """Return the version that a database has, and what that means for this program."""
    with transaction(engine, "read") as connection:
        return _found(connection)


def bring_up_to_date(engine: Engine, name: object) -> None:
    """Upgrade the schema to the newest revision; programs that start together do it once.

    Raises:
        DatabaseFailed: The database has a revision that does not serve this version of the program.
    """
    if _is_usable(read_schema(engine), name):
        return
    with transaction(engine, "change") as connection:
        if not _is_usable(_found(connection), name):
            _upgrade(connection)


def _found(connection: Connection) -> Schema:
    if not inspect(connection).has_table("alembic_version"):
        return Schema(None, "missing")
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found is None:
        return Schema(None, "missing")
    return Schema(found, _state(str(found)))


def _state(found: str) -> State:
    if found in REVISIONS:
        return "current" if found == REVISIONS[-1] else "old"
    match = _NAME.fullmatch(found)
    return "newer" if match and match[2] and match[2] <= REVISIONS[-1][:4] < match[1] else "too new"


def _is_usable(schema: Schema, name: object) -> bool:
    if schema.state == "too new":
        raise DatabaseFailed(
            f"the database {name} has schema {schema.revision}, this version of tokenweir knows {REVISIONS[-1]}; "
            "run the version that made it, or a newer one"
        )
    return schema.state in {"current", "newer"}


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    # Alembic's configuration replaces %(name)s.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
