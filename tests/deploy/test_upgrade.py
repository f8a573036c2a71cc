"""A new version is rolled out: it upgrades the database while the old one serves on it, and both go on."""

from __future__ import annotations

import shutil
import signal

import psycopg
import pytest

from gateway.database.schema import REVISIONS
from tests.support.asking import ask, asking
from tests.support.process import ROOT, command, make_key, serving
from tests.support.scripted_upstream import scripted_upstream
from tests.support.streaming import AT_ONCE

NUMBER = int(REVISIONS[-1][:4])
NEXT = f"{NUMBER + 1:04}_serves_{NUMBER:04}"
MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade():
    op.add_column("requests", sa.Column("colour", sa.Text))
    op.create_table("colours", sa.Column("name", sa.Text, primary_key=True))
"""


@pytest.fixture
def next_version(tmp_path):
    """The program of this repository with one more migration, as the next release may have it."""
    place = tmp_path / "next"
    shutil.copytree(ROOT / "gateway", place / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    database = place / "gateway" / "database"
    schema = (database / "schema.py").read_text()
    assert f'"{REVISIONS[-1]}")' in schema
    (database / "schema.py").write_text(schema.replace(f'"{REVISIONS[-1]}")', f'"{REVISIONS[-1]}", "{NEXT}")'))
    migration = MIGRATION.format(revision=NEXT, before=REVISIONS[-1])
    (database / "migrations" / "versions" / f"r{NEXT}.py").write_text(migration)
    return {"PYTHONPATH": str(place)}


async def stopped(gateway):
    gateway.signal(signal.SIGTERM)
    assert (await gateway.end()).code == 0


async def test_both_versions_work_on_one_database(tmp_path, postgresql, next_version):
    url, sqlite = postgresql.new_database(), tmp_path / "data"
    async with scripted_upstream() as upstream:
        now = {**AT_ONCE, "TOKENWEIR_DATABASE_URL": url, "ANTHROPIC_BASE_URL": upstream.url}
        later = {**now, **next_version}
        assert not sqlite.exists()
        assert "-> " + REVISIONS[-1] in (await command(tmp_path, "db", "upgrade", **now)).out
        key = make_key(tmp_path, url=url)
        async with serving(tmp_path, "serve", **now) as old:
            async with asking(old.url, key) as with_old, serving(tmp_path, "serve", **later) as new:
                async with asking(new.url, key) as with_new:
                    await with_old.more()
                    await with_new.more()
                    found = await command(tmp_path, "db", "check", **now)
                    async with serving(tmp_path, "serve", **now) as restarted:
                        assert await ask(restarted.url, key) is None
                        await stopped(restarted)
                await stopped(new)
            await stopped(old)
    assert (with_old.bad, with_new.bad) == ([], [])
    assert f"schema {NEXT}: newer than this version" in found.out
    assert found.code == 0
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT count(*) FROM requests").fetchone()
    assert rows == (with_old.good + with_new.good + 1,)


async def test_a_version_that_the_schema_does_not_serve_refuses_to_start(tmp_path, postgresql):
    url = postgresql.new_database()
    variables = {**AT_ONCE, "TOKENWEIR_DATABASE_URL": url}
    await command(tmp_path, "db", "upgrade", **variables)
    with psycopg.connect(url) as connection:
        connection.execute(f"UPDATE alembic_version SET version_num = '{NUMBER + 2:04}_serves_{NUMBER + 1:04}'")
    ended = await command(tmp_path, "serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", **variables)
    assert ended.code == 2
    assert "run the version that made it, or a newer one" in ended.err
