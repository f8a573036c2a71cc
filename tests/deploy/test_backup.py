"""Backups are made while the gateway serves, and what is restored from them works."""

from __future__ import annotations

import signal
import sqlite3
import subprocess

import psycopg

from tests.support.asking import ask, asking
from tests.support.process import command, make_key, serving
from tests.support.scripted_upstream import scripted_upstream
from tests.support.streaming import AT_ONCE


async def stopped(gateway):
    gateway.signal(signal.SIGTERM)
    assert (await gateway.end()).code == 0


async def test_a_sqlite_file(tmp_path):
    """The database by `tokenweir db backup`; the pepper was put aside once."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    async with scripted_upstream() as upstream:
        variables = {**AT_ONCE, "ANTHROPIC_BASE_URL": upstream.url}
        async with serving(tmp_path, "serve", **variables) as gateway:
            early = make_key(tmp_path)
            async with asking(gateway.url, early) as noted:
                made = await command(tmp_path, "db", "backup", str(copy))
                await noted.more()
            late = make_key(tmp_path, "late")
            assert await ask(gateway.url, late) is None
            await stopped(gateway)
        for file in data.glob("tokenweir.db*"):
            file.unlink()
        copy.rename(data / "tokenweir.db")
        checked = await command(tmp_path, "db", "check")
        kept = rows_in(data / "tokenweir.db")
        async with serving(tmp_path, "serve", **variables) as gateway:
            assert await ask(gateway.url, early) is None
            assert (await ask(gateway.url, late) or "").startswith("401")
            await stopped(gateway)
    assert noted.bad == []
    assert made.code == 0
    assert checked.out.endswith("in order\n")
    assert kept > 0
    assert rows_in(data / "tokenweir.db") == kept + 1


def rows_in(file):
    with sqlite3.connect(file) as database:
        return database.execute("SELECT count(*) FROM requests").fetchone()[0]


async def test_a_postgresql_database(tmp_path, postgresql):
    url, other, dump = postgresql.new_database(), postgresql.new_database(), tmp_path / "dump"
    async with scripted_upstream() as upstream:
        variables = {**AT_ONCE, "ANTHROPIC_BASE_URL": upstream.url}
        async with serving(tmp_path, "serve", **variables, TOKENWEIR_DATABASE_URL=url) as gateway:
            early = make_key(tmp_path, url=url)
            async with asking(gateway.url, early) as noted:
                run("pg_dump", "--format=custom", f"--file={dump}", url)
                await noted.more()
            late = make_key(tmp_path, "late", url=url)
            await stopped(gateway)
        run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={other}", dump)
        checked = await command(tmp_path, "db", "check", TOKENWEIR_DATABASE_URL=other)
        async with serving(tmp_path, "serve", **variables, TOKENWEIR_DATABASE_URL=other) as gateway:
            assert await ask(gateway.url, early) is None
            assert (await ask(gateway.url, late) or "").startswith("401")
            await stopped(gateway)
    assert noted.bad == []
    assert checked.out.endswith("in order\n")
    with psycopg.connect(other) as connection:
        assert connection.execute("SELECT count(*) > 1 FROM requests").fetchone() == (True,)


def run(*arguments):
    subprocess.run(arguments, check=True, timeout=60)
