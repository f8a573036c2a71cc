"""A real SQLite file or PostgreSQL database, a clock that stands still until told otherwise, and one pepper."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from sqlalchemy import event

from gateway.core.keys import Peppers
from gateway.database.opening import open_database
from gateway.identity.store import Store

NOON = 1_764_000_000.0


@dataclass
class Clock:
    now: float = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Each test runs with both databases, but those that name one of them."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").new_database()
    return f"sqlite:///{tmp_path}/data/tokenweir.db"


@pytest.fixture
def peppers():
    return Peppers.parse("first-pepper-0123456789")


@pytest.fixture
def engine(url):
    engine = open_database(url, busy_timeout=5)
    yield engine
    # A directory that was stopped does not wait for its threads, which may still have a connection.
    for thread in threading.enumerate():
        if thread.name.startswith(("keys", "rehash")):
            thread.join(10)
    engine.dispose()


@pytest.fixture
def store(engine, clock):
    return Store(engine, actor="cli:ada", clock=clock)


@pytest.fixture
def statements(engine):
    """Every statement that the engine executes, in order."""
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *call: seen.append(call[2]))
    return seen
