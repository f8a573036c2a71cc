"""The ledger's bench: what it fills is what it says, and every question is asked."""

from __future__ import annotations

import pytest

from gateway.database.opening import open_database
from gateway.ledger.books import Books
from tools.bench import ledger


@pytest.fixture
def engine(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/tokenweir.db")
    yield engine
    engine.dispose()


def test_the_requests_of_a_year_are_spread_over_its_days(engine):
    ledger.fill(engine, days=3, tenants=2, recent=7)
    days = Books(engine).usage("2025-01-01", "2025-12-31", "day")
    assert [found.of[0] for found in days] == ["2025-01-01", "2025-01-02", "2025-01-03"]
    assert sum(found.requests for found in days) == pytest.approx(ledger.REQUESTS, abs=100)
    assert days[2].requests == days[0].requests + 7


def test_every_question_is_timed(engine):
    ledger.fill(engine, days=1, tenants=1, recent=1)
    took = ledger.ask(Books(engine), 1)
    assert len(took) == 7
    assert min(took.values()) > 0
