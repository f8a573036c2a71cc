"""Opening: made once by whoever comes first, the same for all, refused when it is too new."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.database.errors import DatabaseFailed
from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.identity.store import Store

ADD = """
import sys
from gateway.database.opening import open_database
from gateway.identity.store import Store
engine = open_database(sys.argv[1])
store = Store(engine, actor="cli:other")
for number in range(10):
    store.create_tenant(f"{sys.argv[2]}{number}")
engine.dispose()
"""
OPEN = """
import sys
from gateway.database.opening import open_database
open_database(sys.argv[1]).dispose()
print(sorted({"alembic", "mako", "psycopg"} & sys.modules.keys()))
"""


def test_processes_that_start_together_share_one_database_and_lose_no_change(url):
    workers = [subprocess.Popen([sys.executable, "-c", ADD, url, name]) for name in "abc"]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    engine = open_database(url)
    store = Store(engine, actor="test")
    assert (len(store.list_tenants()), store.revision(), len(store.audit())) == (30, 30, 30)
    engine.dispose()


def test_a_database_of_a_newer_version_is_left_alone(engine, url):
    with transaction(engine, "change") as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseFailed, match="has schema 9999, this version of tokenweir knows "):
        open_database(url)


def test_what_makes_a_schema_is_not_imported_when_there_is_nothing_to_make(url):
    def imported():
        return subprocess.run([sys.executable, "-c", OPEN, url], check=True, capture_output=True, text=True).stdout

    driver = ["psycopg"] if url.startswith("postgresql") else []
    assert imported() == f"{['alembic', 'mako', *driver]}\n"
    assert imported() == f"{driver}\n"


def test_a_schema_that_cannot_be_made_leaves_nothing_behind(url):
    engine = open_database(url)
    with transaction(engine, "change") as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
    with pytest.raises(DatabaseFailed, match="already exists"):
        open_database(url)
    with transaction(engine, "read") as connection:
        assert not engine.dialect.has_table(connection, "alembic_version")
    engine.dispose()
