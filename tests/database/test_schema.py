"""What the migrations make is what the program's statements are written for."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData

from gateway.database import schema
from gateway.database.transactions import transaction
from gateway.identity import tables as identity
from gateway.ledger import tables as ledger


def test_the_revisions_are_those_of_the_migrations_in_their_order():
    scripts = ScriptDirectory(Path(schema.__file__).parent / "migrations")
    assert scripts.get_heads() == [schema.REVISIONS[-1]]
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == schema.REVISIONS


def test_the_migrations_make_the_tables_that_are_declared(engine):
    with transaction(engine, "read") as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        both = MetaData()
        for table in (*identity.metadata.tables.values(), *ledger.metadata.tables.values()):
            table.to_metadata(both)
        assert compare_metadata(context, both) == []


def test_what_comes_after_a_release_says_which_schema_it_still_serves():
    """``0004_serves_0003``; the three of the first release had nothing before them."""
    for revision in schema.REVISIONS[3:]:
        assert len(revision) == 4 or schema._NAME.fullmatch(revision), revision
        assert len(revision) <= 32  # what Alembic's column takes
