"""The version of the schema: told by one plain statement, brought up to date by Alembic when it is old.

Alembic costs 9 MiB and 0.12 s, and is not imported while the version is the one that this program knows.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from gateway.database.errors import DatabaseFailed
from gateway.database.transactions import transaction

# Every revision in ``migrations/versions``, the oldest first.
REVISIONS = ("0001", "0002", "0003")

_MIGRATIONS = Path(__file__).parent / "migrations"


def bring_up_to_date(engine: Engine, name: object) -> None:
    """Upgrade the schema to the newest revision; programs that start together do it once.

    Raises:
        DatabaseFailed: The database has a revision that this version of the program does not know.
    """
    with transaction(engine, "read") as connection:
        if _is_current(connection, name):
            return
    with transaction(engine, "change") as connection:
        if not _is_current(connection, name):
            _upgrade(connection)


def _is_current(connection: Connection, name: object) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found is not None and found not in REVISIONS:
        raise DatabaseFailed(
            f"the database {name} has schema {found}, this version of tokenweir knows {REVISIONS[-1]}; "
            "run the version that made it, or a newer one"
        )
    return bool(found == REVISIONS[-1])


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    # Alembic's configuration replaces %(name)s.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
