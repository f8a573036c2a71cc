"""A ledger in each kind of database, and requests to write into it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.ledger.books import Books
from gateway.ledger.journal import Journal
from gateway.ledger.rows import Admitted, Answer, Checkpoint, Completed, Spent
from gateway.ledger.tables import requests
from gateway.ledger.writer import Writer

NOON = 1_764_000_000.0
DAY = "2025-11-24"


def admitted(request_id="r1", **given):
    values = {
        "request_id": request_id, "tenant": "shop", "key_id": "k1", "end_user": "", "model": "claude-opus-4-5",
        "dialect": "chat", "route": "/api/chat/stream", "stream": True, "received_at": NOON, "day": DAY,
        "worker_id": "w1",
    }  # fmt: skip
    return Admitted(**(values | given))


def checkpoint(at=NOON, output=0, **given):
    spent = Spent(input_tokens=100, output_tokens=output, cost_nano_usd=500_000 + 25_000 * output, estimated=True)
    return Checkpoint(**({"at": at, "lease_until": at + 60, "spent": spent} | given))


def completed(at=NOON + 5, output=20, **given):
    spent = Spent(input_tokens=90, output_tokens=output, cost_nano_usd=450_000 + 25_000 * output)
    answer = Answer("anthropic", 1, "req_1", "claude-opus-4-5-20251101", NOON + 1)
    values = {"at": at, "spent": spent, "answer": answer, "kind": "done", "status": 200, "stop_reason": "end_turn"}
    return Completed(**(values | given))


def all_rows(engine):
    """Every row of the ledger, by its request."""
    with transaction(engine, "read") as connection:
        return {row["request_id"]: dict(row) for row in connection.execute(select(requests)).mappings()}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").new_database()
    return f"sqlite:///{tmp_path}/data/tokenweir.db"


@pytest.fixture
def engine(url):
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def books(engine):
    return Books(engine)


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal", "w1")
    yield journal
    journal.close()


@pytest.fixture
async def writer(engine, journal):
    writer = Writer(engine, journal)
    yield writer
    await writer.close(10)
