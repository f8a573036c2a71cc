"""Merging rows: whatever comes, in whatever order, the row that knows most is what is left."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from gateway.database.transactions import transaction
from gateway.ledger.rows import Answer, done_row, open_row, storable
from gateway.ledger.statements import merge
from gateway.ledger.tables import requests

from .conftest import NOON, admitted, all_rows, checkpoint, completed

TOLD = (
    [open_row(admitted(name), checkpoint(NOON + at, output=at)) for name in ("a", "b") for at in range(4)]
    + [done_row(admitted("a"), completed())]
)  # fmt: skip


def write(engine, *rows):
    with transaction(engine, "add") as connection:
        merge(connection, rows)


def test_a_row_has_all_that_was_told(engine):
    write(engine, done_row(admitted(end_user="u1"), completed(error_code="x")))
    assert all_rows(engine)["r1"] == {
        "request_id": "r1", "tenant": "shop", "key_id": "k1", "end_user": "u1", "model": "claude-opus-4-5",
        "dialect": "chat", "route": "/api/chat/stream", "stream": True, "received_at": NOON, "day": "2025-11-24",
        "worker_id": "w1", "state": 2, "checkpoint_at": NOON + 5, "lease_until": NOON + 5, "input_tokens": 90,
        "output_tokens": 20, "thinking_tokens": 0, "cache_read_tokens": 0, "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0, "web_search_requests": 0, "cost_nano_usd": 950_000, "priced": "known",
        "estimated": False, "upstream": "anthropic", "attempts": 1, "upstream_request_id": "req_1",
        "model_answered": "claude-opus-4-5-20251101", "first_token_at": NOON + 1, "ended_at": NOON + 5, "kind": "done",
        "status": 200, "stop_reason": "end_turn", "error_code": "x", "counted": 1,
        "rolled": 0,
    }  # fmt: skip


@given(batches=st.lists(st.lists(st.sampled_from(TOLD), min_size=1), max_size=4), last=st.permutations(TOLD))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_and_any_repetition_gives_the_same_rows(engine, batches, last):
    with transaction(engine, "change") as connection:
        connection.exec_driver_sql("DELETE FROM requests")
    for batch in [*batches, last]:
        write(engine, *batch)
    rows = all_rows(engine)
    assert {name: (row["state"], row["output_tokens"]) for name, row in rows.items()} == {"a": (2, 20), "b": (0, 3)}


def test_what_is_in_the_sums_of_its_day_is_left_alone(engine):
    write(engine, open_row(admitted(), checkpoint()))
    with transaction(engine, "change") as connection:
        connection.execute(update(requests).values(rolled=1, state=1))
    write(engine, done_row(admitted(), completed()))
    assert all_rows(engine)["r1"]["state"] == 1


@pytest.mark.parametrize("model", ["a\0b", "a\ud800b", "ä", "x" * 5000])
def test_what_a_client_named_can_be_written_whatever_it_is(engine, model):
    told = completed()._replace(answer=Answer(model_answered=model))
    write(engine, storable(done_row(admitted(model=model), told)))
    assert all_rows(engine)["r1"]["model"].startswith(model[0])


def test_a_number_beyond_64_bits_is_written_as_the_largest(engine):
    told = completed()._replace(spent=completed().spent._replace(output_tokens=10**30))
    write(engine, storable(done_row(admitted(), told)))
    assert all_rows(engine)["r1"]["output_tokens"] == 2**63 - 1
