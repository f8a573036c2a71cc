"""The SQLite file: made safely, opened by many, noticed when it goes or is replaced."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys

import pytest
from sqlalchemy import URL, exc, update

from gateway.identity import tables
from gateway.identity.database import database_errors, open_database, transaction
from gateway.identity.errors import DatabaseFailed, Refused
from gateway.identity.store import Store

ADD = """
import sys
from gateway.identity.database import open_database
from gateway.identity.store import Store
engine = open_database(sys.argv[1])
store = Store(engine, actor="cli:other")
for number in range(10):
    store.create_tenant(f"{sys.argv[2]}{number}")
engine.dispose()
"""


def test_a_new_database_is_for_its_owner_only(url, tmp_path):
    umask = os.umask(0)
    engine = open_database(url)
    os.umask(umask)
    with transaction(engine, write=True) as connection:
        connection.execute(update(tables.revision).values(number=1))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "data").iterdir()}
    engine.dispose()
    assert modes == {"tokenweir.db": 0o600, "tokenweir.db-wal": 0o600, "tokenweir.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_processes_that_start_together_share_one_database_and_lose_no_change(url):
    workers = [subprocess.Popen([sys.executable, "-c", ADD, url, name]) for name in "abc"]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    engine = open_database(url)
    store = Store(engine, actor="test")
    assert (len(store.list_tenants()), store.revision(), len(store.audit())) == (30, 30, 30)
    engine.dispose()


def test_connections_use_wal_foreign_keys_and_wait_for_locks(engine):
    with transaction(engine, write=False) as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        ]
    assert found == ["wal", 1, 5000, 2]


@pytest.mark.parametrize("name", ["a b?c#d%41.db", "é.db"])
def test_a_path_may_hold_what_means_something_in_a_url(tmp_path, name):
    url = URL.create("sqlite", database=str(tmp_path / name)).render_as_string()
    open_database(url).dispose()
    assert (tmp_path / name).is_file()


def test_a_transaction_is_all_or_nothing_schema_included(engine):
    def half_a_change():
        with transaction(engine, write=True) as connection:
            connection.exec_driver_sql("CREATE TABLE half (done INTEGER)")
            connection.exec_driver_sql("SELECT * FROM missing")

    with pytest.raises(exc.OperationalError):
        half_a_change()
    with transaction(engine, write=False) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sqlite_master WHERE name = 'half'").scalar() == 0


def test_a_read_sees_one_state_while_another_process_writes(engine, url, store):
    store.create_tenant("a")
    other = open_database(url)
    with transaction(engine, write=False) as connection:
        count = "SELECT count(*) FROM tenants"
        before = connection.exec_driver_sql(count).scalar()
        Store(other, actor="other").create_tenant("b")
        assert connection.exec_driver_sql(count).scalar() == before == 1
    other.dispose()
    assert len(store.list_tenants()) == 2


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql+psycopg://u:secret@db/x", "of type postgresql, which is not supported; allowed: "),
        ("sqlite://", "names no file; allowed: "),
        ("sqlite:///:memory:", "names no file; allowed: "),
        ("data/tokenweir.db", "is not a URL; allowed: a SQLite file, as in sqlite:///"),
    ],
)
def test_an_address_that_is_no_sqlite_file_is_refused_without_its_password(url, why):
    with pytest.raises(Refused, match=why) as refused:
        open_database(url)
    assert "secret" not in str(refused.value)


def test_a_database_of_a_newer_version_is_left_alone(engine, url):
    with transaction(engine, write=True) as connection:
        connection.execute(update(tables.schema_version).values(version=99))
    with pytest.raises(DatabaseFailed, match="has schema 99"):
        open_database(url)


def test_a_file_that_is_no_database_is_an_error_in_one_sentence(tmp_path):
    (tmp_path / "x.db").write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseFailed, match=r"x\.db cannot be used: file is not a database"):
        open_database(f"sqlite:///{tmp_path}/x.db")


@pytest.mark.parametrize(
    ("place", "why"),
    [("x.db/y.db", "File exists"), ("directory", "File exists"), ("/proc/nothing/y.db", "No such file or directory")],
)
def test_a_place_where_no_file_can_be_is_an_error_that_names_the_keys(tmp_path, place, why):
    (tmp_path / "x.db").write_text("")
    (tmp_path / "directory").mkdir()
    with pytest.raises(DatabaseFailed, match=f"cannot be used: {why}; data_dir, or database_url if it is set, says"):
        open_database(f"sqlite:///{tmp_path / place}")


def test_an_error_of_the_pool_or_of_the_driver_shows_no_statement():
    for error in (exc.TimeoutError("SELECT secret"), sqlite3.OperationalError("database is locked")):
        with pytest.raises(DatabaseFailed, match="keys cannot be used") as failed, database_errors("of keys"):
            raise error
        assert "secret" not in str(failed.value)


def test_a_locked_database_fails_after_the_busy_timeout(engine, url, tmp_path):
    impatient = open_database(url, busy_timeout=0.01)
    with transaction(engine, write=True), pytest.raises(DatabaseFailed, match="database is locked"):
        Store(impatient, actor="x").create_tenant("late")
    impatient.dispose()


def test_a_database_that_is_gone_fails_and_is_not_made_anew(store, tmp_path):
    store.create_tenant("shop")
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    with pytest.raises(DatabaseFailed, match="unable to open database file"):
        store.revision()
    assert not (tmp_path / "data").exists()
    shutil.move(tmp_path / "elsewhere", tmp_path / "data")
    assert store.revision() == 1


def test_a_database_that_was_replaced_is_read_from_its_new_file(store, url, tmp_path):
    store.create_tenant("old")
    other = open_database(f"sqlite:///{tmp_path}/other/tokenweir.db")
    Store(other, actor="x").create_tenant("new")
    other.dispose()
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    shutil.copy(tmp_path / "other" / "tokenweir.db", tmp_path / "data" / "tokenweir.db")
    assert [row.name for row in store.list_tenants()] == ["new"]
