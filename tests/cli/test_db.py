"""``tokenweir db``: what it says of a database, and that looking changes nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.db import db
from gateway.cli.keys import keys
from gateway.cli.tenants import tenants
from gateway.database.schema import REVISIONS

NEWEST = int(REVISIONS[-1][:4])
FILE = Path("data/tokenweir.db")


def run(*words):
    return CliRunner().invoke(db, words)


@pytest.fixture
def used(ledger_url):
    """A database with one key."""
    CliRunner().invoke(tenants, ["create", "shop"])
    CliRunner().invoke(keys, ["create", "--tenant", "shop"])
    return ledger_url


@pytest.fixture
def file(used):
    if not used.startswith("sqlite"):
        pytest.fail("for SQLite alone")
    return FILE


def test_an_upgrade_makes_the_schema_and_a_second_one_does_nothing(ledger_url):
    assert run("upgrade").stdout == f"schema none -> {REVISIONS[-1]}\n"
    assert run("upgrade").stdout == f"schema {REVISIONS[-1]}: nothing to do\n"


def test_a_database_in_order_is_said_to_be(used):
    checked = run("check")
    assert checked.exit_code == 0
    assert f"schema {REVISIONS[-1]}: which is what this version knows" in checked.stdout
    assert "pepper 1, the current one: 1 live key(s)" in checked.stdout
    assert checked.stdout.endswith("in order\n")


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_a_database_that_is_not_there_is_not_made_by_looking(ledger_url):
    checked = run("check")
    assert checked.exit_code == 2
    assert "there is no database" in checked.stderr
    assert not FILE.exists()


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
def test_an_empty_database_is_said_to_be(ledger_url):
    checked = run("check")
    assert checked.exit_code == 1
    assert "schema none: it has no schema yet" in checked.stdout
    refused = run("backup", "copy.db")
    assert refused.exit_code == 2
    assert "use pg_dump" in refused.stderr


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("revision", "code", "said"),
    [
        (REVISIONS[0], 1, "this version upgrades it"),
        (f"{NEWEST + 1:04}_serves_{NEWEST:04}", 0, "it is served all the same"),
        (f"{NEWEST + 3:04}_serves_{NEWEST - 1:04}", 0, "it is served all the same"),
        (f"{NEWEST + 2:04}_serves_{NEWEST + 1:04}", 1, "refuses to use it"),
        (f"{NEWEST + 1:04}", 1, "refuses to use it"),
        ("something else", 1, "refuses to use it"),
    ],
)
def test_the_version_of_the_schema_is_judged(file, revision, code, said):
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()
    checked = run("check")
    assert said in checked.stdout
    assert checked.exit_code == code


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_a_damaged_file_is_found(file):
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("PRAGMA writable_schema = ON")
        database.execute("DELETE FROM sqlite_schema WHERE name = 'ix_keys_changed_at'")
    database.close()
    checked = run("check")
    assert checked.exit_code == 1
    assert "problem: " in checked.stdout


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_a_missing_pepper_is_told_and_not_made(file):
    (FILE.parent / "pepper").unlink()
    checked = run("check")
    assert checked.exit_code == 1
    assert "problem: there is no pepper, and 1 live key(s) need theirs" in checked.stdout
    assert not (FILE.parent / "pepper").exists()


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_another_pepper_is_told(file):
    (FILE.parent / "pepper").write_text("another-pepper-than-before")
    assert "made with another pepper of version 1" in run("check").stdout


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_a_backup_is_whole_for_its_owner_only_and_overwrites_nothing(file):
    assert run("backup", "copy.db").exit_code == 0
    assert Path("copy.db").stat().st_mode & 0o777 == 0o600
    with sqlite3.connect("copy.db") as copy:
        assert copy.execute("SELECT count(*) FROM keys").fetchone() == (1,)
    copy.close()
    again = run("backup", "copy.db")
    assert again.exit_code == 2
    assert "exists already" in again.stderr
