"""The demo's key: the same one as long as it works, and no way in that `serve` does not know of."""

from __future__ import annotations

import pytest

from gateway.cli.demo_key import has_live_key, ready_made_key
from gateway.core.keys import Peppers
from gateway.database.errors import Refused
from gateway.database.opening import open_database
from gateway.identity.store import Store

PEPPERS = Peppers.parse("first-pepper-0123456789")


@pytest.fixture
def store(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/tokenweir.db")
    yield Store(engine, actor="test")
    engine.dispose()


def test_it_is_made_once(store, tmp_path):
    key = ready_made_key(store, PEPPERS, tmp_path)
    assert ready_made_key(store, PEPPERS, tmp_path) == key
    assert len(store.list_keys("demo")) == 1


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff\xfe"])
def test_a_file_that_holds_no_key_is_replaced(store, tmp_path, content):
    path = tmp_path / "demo-key"
    path.write_bytes(content)
    path.chmod(0o644)
    key = ready_made_key(store, PEPPERS, tmp_path)
    assert path.read_text() == key + "\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_of_another_database_or_of_a_pepper_that_is_gone_is_replaced(store, tmp_path):
    key = ready_made_key(store, PEPPERS, tmp_path)
    other = ready_made_key(store, Peppers.parse("2:other-pepper-0123456789"), tmp_path)
    assert other != key
    engine = open_database(f"sqlite:///{tmp_path}/another.db")
    assert ready_made_key(Store(engine, actor="test"), PEPPERS, tmp_path) != other
    engine.dispose()


def test_a_place_that_cannot_be_written_is_a_sentence(store, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Refused, match="cannot be kept in"):
        ready_made_key(store, PEPPERS, tmp_path / "file")


def test_a_key_of_the_demo_is_live_until_it_is_revoked_or_the_tenant_suspended(store, tmp_path):
    assert not has_live_key(store)
    ready_made_key(store, PEPPERS, tmp_path)
    assert has_live_key(store)
    store.suspend("demo")
    assert not has_live_key(store)
    store.resume("demo")
    (row,) = store.list_keys("demo")
    store.revoke(row.id)
    assert not has_live_key(store)
