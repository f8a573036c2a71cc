"""The SQLite file: made safely, noticed when it goes or is replaced."""

from __future__ import annotations

import os
import shutil
import stat

import pytest
from sqlalchemy import URL, select, update

from gateway.database.errors import DatabaseFailed
from gateway.database.opening import open_database
from gateway.database.sqlite import forget
from gateway.database.transactions import transaction
from gateway.identity import tables
from gateway.identity.store import Store


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/data/tokenweir.db"


@pytest.fixture
def store(engine):
    return Store(engine, actor="cli:ada")


def test_a_new_database_is_for_its_owner_only(url, tmp_path):
    umask = os.umask(0)
    engine = open_database(url)
    os.umask(umask)
    with transaction(engine, "change") as connection:
        connection.execute(update(tables.revision).values(number=1))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "data").iterdir()}
    engine.dispose()
    assert modes == {"tokenweir.db": 0o600, "tokenweir.db-wal": 0o600, "tokenweir.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_connections_use_wal_foreign_keys_wait_for_locks_and_overwrite_what_is_deleted(engine):
    with transaction(engine, "read") as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous", "secure_delete")
        ]
    assert found == ["wal", 1, 5000, 2, 1]


WORD = "a word that was here"


@pytest.fixture
def residue(url):
    """Have a word in the file that no row holds, as SQLite leaves some where it moves rows; return the engine."""
    engine = open_database(url, busy_timeout=0)
    with engine.connect() as connection:
        for statement in (
            "PRAGMA secure_delete=OFF",
            "CREATE TABLE notes (note TEXT)",
            f"INSERT INTO notes VALUES ('{WORD}'), ('another')",
            f"DELETE FROM notes WHERE note = '{WORD}'",
            "PRAGMA secure_delete=ON",
        ):
            connection.connection.execute(statement)
    yield engine
    engine.dispose()


def files(tmp_path):
    return [path.name for path in (tmp_path / "data").iterdir() if WORD.encode() in path.read_bytes()]


def test_what_no_row_holds_is_in_no_file_any_more(residue, tmp_path):
    assert files(tmp_path)
    assert forget(residue, WORD)
    assert files(tmp_path) == []
    assert forget(residue, WORD)


def test_somebody_who_reads_what_was_before_or_writes_hinders_it(residue, tmp_path):
    log = tmp_path / "data" / "tokenweir.db-wal"
    with transaction(residue, "read") as reader:
        reader.execute(select(tables.revision)).all()
        with transaction(residue, "change") as connection:
            connection.execute(update(tables.revision).values(number=1))
        assert not forget(residue, WORD)
        assert log.stat().st_size > 0
    assert forget(residue, "not there")  # which empties the log, and writes nothing anew
    assert (log.stat().st_size, files(tmp_path)) == (0, ["tokenweir.db"])
    with transaction(residue, "change"):
        assert not forget(residue, WORD)
    assert forget(residue, WORD)
    assert (log.stat().st_size, files(tmp_path)) == (0, [])


@pytest.mark.parametrize("name", ["a b?c#d%41.db", "é.db"])
def test_a_path_may_hold_what_means_something_in_a_url(tmp_path, name):
    url = URL.create("sqlite", database=str(tmp_path / name)).render_as_string()
    open_database(url).dispose()
    assert (tmp_path / name).is_file()


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
