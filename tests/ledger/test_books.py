"""Sums, claims and forgetting: each row counts once, wherever it is."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import event, select

from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.ledger.books import GRACE, Books, Claimed, Ended, Sum
from gateway.ledger.rows import State, done_row, open_row
from gateway.ledger.statements import merge
from gateway.ledger.tables import requests

from .conftest import DAY, NOON, admitted, all_rows, checkpoint, completed

NEXT = "2025-11-25"


def write(engine, *rows):
    with transaction(engine, "add") as connection:
        merge(connection, rows)


def done(request_id, output=20, **given):
    return done_row(admitted(request_id, **given), completed(output=output))


def roll_up(books, now=NOON + 10):
    count = 0
    while some := books.roll_up(now, most=2):
        count += some
    return count


@pytest.fixture
def some(engine):
    write(
        engine,
        done("a", end_user="u1"),
        done("b", end_user="u2", key_id="k2"),
        done("c", day=NEXT, end_user="u1"),
        done("d", tenant="bank", key_id="k3"),
        open_row(admitted("e"), checkpoint()),
    )


def shape(sums):
    return [(*found.of, found.requests, found.output_tokens, found.cost_nano_usd) for found in sums]


@pytest.mark.parametrize("rolled", [False, True])
def test_usage_is_summed_by_what_is_asked_for_whether_it_was_rolled_up_or_not(books, some, rolled):
    if rolled:
        assert roll_up(books) == 4
    one = 950_000
    assert shape(books.usage(DAY, NEXT, "day")) == [(DAY, 3, 60, 3 * one), (NEXT, 1, 20, one)]
    assert shape(books.usage(DAY, DAY, "key")) == [("k1", 1, 20, one), ("k2", 1, 20, one), ("k3", 1, 20, one)]
    assert shape(books.usage(DAY, NEXT, "user", {"tenant": "shop"})) == [("u1", 2, 40, 2 * one), ("u2", 1, 20, one)]
    assert shape(books.usage(DAY, NEXT, "tenant", {"key_id": "k3"})) == [("bank", 1, 20, one)]
    (model,) = books.usage(DAY, NEXT, "model")
    assert model == Sum(("claude-opus-4-5-20251101",), 4, 360, 80, 0, 0, 0, 0, 0, 4 * one)
    assert books.usage("2026-01-01", "2026-12-31", "day") == []


@pytest.mark.parametrize("rolled", [False, True])
def test_budgets_are_rebuilt_from_what_ended(books, some, rolled):
    if rolled:
        roll_up(books)
    assert [found.of for found in books.spent(DAY, DAY, ended=Ended(NOON + 100, NOON + 100))] == [
        (DAY, "bank", "k3", ""), (DAY, "shop", "k1", "u1"), (DAY, "shop", "k2", "u2")
    ]  # fmt: skip


def test_budgets_may_be_asked_for_what_ended_by_a_moment_and_for_one_tenant(books, some):
    ended = NOON + 5
    assert [found.of[2] for found in books.spent(DAY, DAY, tenant="shop", ended=Ended(ended, ended))] == ["k1", "k2"]
    assert books.spent(DAY, DAY, tenant="shop", ended=Ended(ended - 0.001, ended)) == []
    # With those that run.
    assert sum(found.requests for found in books.spent(DAY, DAY, tenant="shop")) == 3


def test_rows_that_come_after_a_roll_up_are_added_to_their_day(books, some, engine):
    roll_up(books)
    write(engine, done("f", output=30, end_user="u1"))
    before = books.usage(DAY, NEXT, "user")
    assert roll_up(books) == 1
    assert books.usage(DAY, NEXT, "user") == before
    assert shape(before)[1] == ("u1", 3, 70, 2 * 950_000 + 1_200_000)
    assert roll_up(books) == 0


def test_roll_ups_at_the_same_time_count_each_row_once(books, engine):
    write(engine, *(done(f"r{number}") for number in range(60)))
    threads = [threading.Thread(target=roll_up, args=(books,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [found.requests for found in books.usage(DAY, DAY, "day")] == [60]
    assert {row["rolled"] > 0 for row in all_rows(engine).values()} == {True}


def test_sums_do_not_read_what_was_rolled_up(books, some, engine):
    """What budgets are rebuilt from stays small: the statement finds new rows by an index."""
    seen = []
    event.listen(engine, "before_cursor_execute", lambda *call: seen.append(call[2:4]))
    books.spent(DAY, DAY, ended=Ended(NOON + 100, NOON + 100))
    if engine.dialect.name == "sqlite":
        statement, values = seen[-1]
        with transaction(engine, "read") as connection:
            plan = str(connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, values).all())
        assert "requests USING INDEX ix_requests_rolled (rolled=?)" in plan
        assert "usage_days USING PRIMARY KEY (day>? AND day<?)" in plan


def test_pruning_deletes_only_what_is_in_the_sums(books, some, engine):
    roll_up(books)
    write(engine, done("late"))
    before = books.usage(DAY, NEXT, "day")
    assert [books.prune(NEXT, most=2) for _ in "abc"] == [2, 1, 0]
    assert set(all_rows(engine)) == {"c", "e", "late"}
    assert books.usage(DAY, NEXT, "day") == before


def test_pruning_looks_without_the_lock_that_admissions_need(books, some, engine):
    roll_up(books)
    with transaction(engine, "change"):
        assert books.prune("2000-01-01") == 0


def test_rows_of_a_journal_are_taken_however_often_they_come(books, engine):
    rows = [open_row(admitted("a"), checkpoint()), done("a"), done("b")]
    for _ in range(2):
        books.take(rows)
    assert {name: row["state"] for name, row in all_rows(engine).items()} == {"a": State.DONE, "b": State.DONE}


def test_what_was_changed_is_overwritten_unless_others_read_it(books, some, url):
    other = open_database(url, busy_timeout=0)
    hindered = other.dialect.name == "sqlite"
    with transaction(other, "read") as connection:
        connection.execute(select(requests.c.end_user)).all()
        Books(other).erase("u1")
        assert Books(other).scrub("u1") is not hindered
    assert Books(other).scrub("u1")
    other.dispose()


def test_a_request_is_shown_whole_or_not_at_all(books, some):
    assert books.request("a")["stop_reason"] == "end_turn"
    assert books.request("z") is None


def test_the_requests_of_a_dead_worker_end_at_what_they_had_used(books, engine):
    write(engine, open_row(admitted("dead", worker_id="w0"), checkpoint(output=7)))
    write(engine, open_row(admitted("alive"), checkpoint(at=NOON + 50)), done("over"))
    assert books.claim(NOON + 60) == []
    assert books.claim(NOON + 61) == [Claimed("dead", "shop", "w0")]
    assert books.claim(NOON + 61) == []
    row = all_rows(engine)["dead"]
    assert [row[name] for name in ("state", "output_tokens", "ended_at", "kind", "error_code", "status")] == [
        State.CLAIMED, 7, NOON + 60, "error", "worker_lost", 499
    ]  # fmt: skip


def test_of_two_who_claim_each_gets_its_own(books, engine):
    write(engine, *(open_row(admitted(f"r{number}"), checkpoint()) for number in range(200)))
    found = [[], []]
    threads = [threading.Thread(target=lambda n=n: found[n].extend(Books(engine).claim(NOON + 61))) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(claimed.request_id for claimed in found[0] + found[1]) == sorted(f"r{n}" for n in range(200))


def test_a_worker_that_was_taken_for_dead_has_the_last_word_for_an_hour(books, engine):
    write(engine, open_row(admitted("a"), checkpoint()), open_row(admitted("b"), checkpoint()))
    books.claim(NOON + 61)
    assert roll_up(books, NOON + 60 + GRACE) == 0
    write(engine, done("a"))
    assert shape(books.usage(DAY, DAY, "day")) == [(DAY, 2, 20, 950_000 + 500_000)]
    assert roll_up(books, NOON + 61 + GRACE) == 2
    write(engine, done("b"))
    assert shape(books.usage(DAY, DAY, "day")) == [(DAY, 2, 20, 950_000 + 500_000)]


@pytest.mark.parametrize("rolled", [False, True])
def test_a_user_is_forgotten_and_what_was_used_stays(books, some, engine, rolled):
    write(engine, done("n"))
    if rolled:
        roll_up(books)
    before = books.usage(DAY, NEXT, "key")
    assert books.erase("u1") == 2 + 2 * rolled
    assert shape(books.usage(DAY, NEXT, "user", {"tenant": "shop"})) == [
        ("", 3, 60, 3 * 950_000), ("u2", 1, 20, 950_000)
    ]  # fmt: skip
    assert books.usage(DAY, NEXT, "key") == before
    assert books.erase("u1") == 0
    with transaction(engine, "read") as connection:
        for table in ("requests", "usage_days"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table} WHERE end_user = 'u1'").scalar() == 0
