"""A PostgreSQL server that goes away, comes back, or is not there."""

from __future__ import annotations

import pytest

from gateway.database.errors import DatabaseFailed
from gateway.database.opening import open_database
from gateway.identity.store import Store
from tests.support.postgresql import cluster


@pytest.fixture(scope="module")
def server():
    """A server that only these tests stop."""
    with cluster() as server:
        yield server


@pytest.fixture
def store(server):
    engine = open_database(server.new_database())
    yield Store(engine, actor="cli:ada")
    engine.dispose()


def test_a_server_that_stops_is_an_error_and_is_found_again_when_it_is_back(server, store):
    store.create_tenant("shop")
    server.stop()
    with pytest.raises(DatabaseFailed, match=r"of keys and tenants cannot be used: .*connection") as failed:
        store.revision()
    assert "\n" not in str(failed.value)
    server.start()
    assert store.revision() == 1


def test_a_server_that_restarted_is_not_noticed_at_all(server, store):
    store.create_tenant("shop")
    server.stop("fast")
    server.start()
    assert store.revision() == 1
    assert store.create_tenant("bank")


def test_a_server_that_is_not_there_is_an_error_without_the_password(tmp_path):
    with pytest.raises(DatabaseFailed, match=f"name on {tmp_path} cannot be used: .*No such file") as failed:
        open_database(f"postgresql://user:hush@/name?host={tmp_path}")
    assert "hush" not in str(failed.value)


def test_a_database_that_is_not_there_is_named(server):
    url = server.new_database().replace("/test", "/missing")
    with pytest.raises(DatabaseFailed, match=r'database "missing.*" does not exist'):
        open_database(url)


def test_what_the_url_says_of_the_connection_goes_before_what_we_say(server):
    engine = open_database(server.new_database() + "&application_name=mine&connect_timeout=9")
    assert engine.url.query["application_name"] == "mine"
    assert engine.url.query["connect_timeout"] == "9"
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW application_name").scalar() == "mine"
        assert connection.exec_driver_sql("SHOW tcp_user_timeout").scalar() is not None
    engine.dispose()
