"""What the migrations make is what the program's statements are written for."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway.database import schema
from gateway.database.transactions import transaction
from gateway.identity import tables


def test_the_revisions_are_those_of_the_migrations_in_their_order():
    scripts = ScriptDirectory(Path(schema.__file__).parent / "migrations")
    assert scripts.get_heads() == [schema.REVISIONS[-1]]
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == schema.REVISIONS


def test_the_migrations_make_the_tables_that_are_declared(engine):
    with transaction(engine, "read") as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_a_path_with_a_percent_sign_can_hold_the_migrations(engine):
    """Alembic's configuration is in the format of ConfigParser, which replaces %(name)s."""
    with transaction(engine, "read") as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == schema.REVISIONS[-1]
