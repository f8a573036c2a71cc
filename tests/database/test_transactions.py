"""Transactions: all or nothing, one state for a read, one change at a time, additions side by side."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import exc

from gateway.database.errors import DatabaseFailed, database_errors
from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.identity.store import Store

COUNT = "SELECT count(*) FROM tenants"


@pytest.fixture
def other(url, engine):
    """Another process's engine, which waits for locks as good as not at all."""
    other = open_database(url, busy_timeout=0.01)
    yield other
    other.dispose()


def test_a_transaction_is_all_or_nothing_schema_included(engine):
    def half_a_change():
        with transaction(engine, "change") as connection:
            connection.exec_driver_sql("CREATE TABLE half (done INTEGER)")
            connection.exec_driver_sql("SELECT * FROM missing")

    with pytest.raises(exc.DBAPIError):
        half_a_change()
    with transaction(engine, "read") as connection:
        assert not engine.dialect.has_table(connection, "half")


def test_a_read_sees_one_state_while_another_process_writes(engine, other):
    store = Store(engine, actor="cli:ada")
    store.create_tenant("a")
    with transaction(engine, "read") as connection:
        before = connection.exec_driver_sql(COUNT).scalar()
        Store(other, actor="other").create_tenant("b")
        assert connection.exec_driver_sql(COUNT).scalar() == before == 1
    assert len(store.list_tenants()) == 2


def test_a_change_fails_when_it_has_waited_for_another_as_long_as_it_may(engine, other):
    with transaction(engine, "change"), pytest.raises(DatabaseFailed, match=r"locked|lock timeout"):
        Store(other, actor="x").create_tenant("late")
    assert Store(other, actor="x").create_tenant("early")


def test_a_change_sees_what_the_one_before_it_has_done(engine, url):
    """Two who suspend at the same time: the second finds it done, and writes nothing."""
    store = Store(engine, actor="cli:ada")
    store.create_tenant("shop")
    patient = open_database(url)
    second = threading.Thread(target=Store(patient, actor="cli:bob").suspend, args=("shop",))
    with transaction(engine, "change") as connection:
        second.start()
        connection.exec_driver_sql("UPDATE tenants SET suspended_at = 1")
    second.join(10)
    patient.dispose()
    assert [row.action for row in store.audit()] == ["tenant.create"]
    assert store.list_tenants()[0].suspended_at == 1


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_on_postgresql_an_addition_waits_for_no_change_and_no_other_addition(engine, other):
    insert = "INSERT INTO peppers (version, fingerprint) VALUES (%s, '')"
    with transaction(engine, "change"), transaction(engine, "add") as first, transaction(other, "add") as second:
        first.exec_driver_sql(insert, (1,))
        second.exec_driver_sql(insert, (2,))
    with transaction(engine, "read") as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM peppers").scalar() == 2


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_on_postgresql_a_read_cannot_write(engine):
    with (
        pytest.raises(DatabaseFailed, match="read-only transaction"),
        database_errors("of keys"),
        transaction(engine, "read") as connection,
    ):
        connection.exec_driver_sql("DELETE FROM peppers")
