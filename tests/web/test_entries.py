"""Every request that is let in has a row in the ledger before its first token, and one alone at its end."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
from contextlib import contextmanager
from operator import itemgetter

import pytest

from gateway.ledger.journal import files_in, read_rows
from gateway.ledger.rows import COLUMNS
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.scripted_upstream import BLOCK, SSE_HEAD, START, answer, scripted_upstream, stream, text_delta
from tests.web.test_quotas import ASK, CHAT, HELLO, MESSAGES, PRICES, REFUSED, SAY, WHOLE, ask, limits


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: observed(configuration(tmp_path, claude.url, prices=PRICES, **sections))


def read(tmp_path):
    """Return the ledger's rows: those of the journal and of the database, which are on their way from one to the other."""
    rows = {}
    connection = sqlite3.connect(tmp_path / "tokenweir.db", timeout=10)
    connection.row_factory = sqlite3.Row
    try:
        waiting = [row for path in files_in(tmp_path / "journal") for row in read_rows(path)]
        told = [dict(zip(COLUMNS, row, strict=True)) for row in waiting]
        for row in [*map(dict, connection.execute("SELECT * FROM requests")), *told]:
            known = rows.setdefault(row["request_id"], row)
            if (row["state"], row["checkpoint_at"]) > (known["state"], known["checkpoint_at"]):
                rows[row["request_id"]] = row
    finally:
        connection.close()
    return sorted(rows.values(), key=itemgetter("received_at"))


async def ended(tmp_path, count=1):
    """Return the rows when so many are complete."""
    await eventually(lambda: sum(row["state"] == 2 for row in read(tmp_path)) == count)
    return read(tmp_path)


async def test_a_stream_leaves_one_row_with_everything_in_it(shop, tmp_path):
    async with scripted_upstream(stream(HELLO)) as claude, shop(claude) as (caller, outcomes):
        async with caller.post(CHAT, {**SAY, "metadata": {"userId": "ann@shop.example"}}) as response:
            await response.read()
        outcome = await outcomes.only()
        (row,) = await ended(tmp_path)
    assert (row["request_id"], row["upstream_request_id"]) == (outcome.request_id, "req_claude")
    assert (row["tenant"], row["key_id"]) == ("acme", outcome.key_id)
    assert len(row["end_user"]) == 32
    assert "ann" not in str(row)
    assert (row["model"], row["model_answered"]) == ("claude-x", "claude-sonnet-5-5")
    assert (row["dialect"], row["route"], row["stream"]) == ("chat", CHAT, 1)
    assert (row["upstream"], row["attempts"], row["stop_reason"], row["kind"]) == ("claude", 1, "end_turn", "done")
    assert row["received_at"] <= row["first_token_at"] <= row["ended_at"]
    assert (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"]) == (12, 3, 5)
    assert row["cost_nano_usd"] == 15 * 10**6 + 5 * 2 * 10**6
    assert (row["priced"], row["estimated"], row["status"], row["error_code"]) == ("override", 0, 200, None)


async def test_the_row_is_there_before_the_first_token_and_marked_as_an_estimate(shop, tmp_path):
    go_on = asyncio.Event()

    async def gated(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        async with asyncio.timeout(20):
            await go_on.wait()

    async with scripted_upstream(gated) as claude, shop(claude) as (caller, _):
        async with caller.post(MESSAGES, {**ASK, "stream": True}) as response:
            await response.content.readuntil(b"Hel")
            (row,) = read(tmp_path)
            assert (row["state"], row["estimated"], row["ended_at"]) == (0, 1, None)
            assert row["input_tokens"] > 0
            assert row["cost_nano_usd"] >= row["input_tokens"] * 10**6
            assert row["lease_until"] > row["received_at"] + 30
            go_on.set()


async def test_what_is_refused_by_a_limit_has_no_row_and_what_claude_refuses_has(shop, tmp_path):
    plans = {"default": {"requests_per_minute": 1}}
    async with scripted_upstream(answer(400, REFUSED)) as claude, shop(claude, plans=plans) as (caller, _):
        assert (await ask(caller))[0] == 400
        assert (await ask(caller))[0] == 429
        (row,) = await ended(tmp_path)
    assert (row["status"], row["kind"], row["error_code"]) == (400, "error", "upstream_invalid_request_error")
    assert (row["input_tokens"], row["cost_nano_usd"]) == (0, 0)


async def test_a_budget_goes_on_after_a_restart(shop, tmp_path):
    plans = {"default": {"usd_per_month": 5, "per_key": {"requests_per_day": 9}}}
    async with scripted_upstream(answer(200, WHOLE)) as claude:
        async with shop(claude, plans=plans) as (caller, _):
            for _ in range(3):
                await ask(caller)
            key = caller.key
        async with shop(claude, plans=plans) as (caller, _):
            caller.key = key
            assert await limits(caller) == {"tenant-usd-per-month": (1.5, 0.0), "key-requests-per-day": (3, 0)}


async def test_a_running_stream_is_noted_again_and_again(shop, tmp_path):
    go_on = asyncio.Event()

    async def gated(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel" * 100))
        async with asyncio.timeout(20):
            await go_on.wait()

    async with scripted_upstream(gated) as claude, shop(claude) as (caller, _):
        async with caller.post(MESSAGES, {**ASK, "stream": True}) as response:
            await response.content.readuntil(b"HelHel")
            (holding,) = caller.gateway.services.streams.holds.values()
            holding.note()
            await eventually(lambda: read(tmp_path)[0]["output_tokens"] > 0)
            (row,) = read(tmp_path)
            assert (row["state"], row["input_tokens"], row["estimated"]) == (0, 12, 1)
            go_on.set()


@contextmanager
def nothing_writable(tmp_path):
    """Have neither the database nor the journal take a byte: the one is locked by another, the other's disk is full."""
    other = sqlite3.connect(tmp_path / "tokenweir.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        other.execute("ROLLBACK")
        other.close()


@pytest.mark.parametrize("stream_it", [True, False])
async def test_without_a_database_and_a_journal_requests_are_refused_loudly(shop, tmp_path, stream_it):
    script = stream(HELLO) if stream_it else answer(200, WHOLE)
    async with scripted_upstream(script) as claude, shop(claude, keys={"read_timeout": 30}) as (caller, outcomes):
        assert (await ask(caller, body={**ASK, "stream": stream_it}))[0] == 200
        with nothing_writable(tmp_path):
            async with caller.post(MESSAGES, {**ASK, "stream": stream_it}) as response:
                assert response.status == 503
                assert "accounted for" in (await response.json())["error"]["message"]
        assert (await outcomes.reach(2))[1].error_code == "store_unavailable"
        async with caller.session.get(f"{caller.gateway.ops_url}/metrics") as response:
            assert "tokenweir_ledger_refusals_total 1.0" in await response.text()


async def test_the_operator_may_have_them_served_all_the_same(shop, tmp_path):
    ledger = {"on_failure": "serve", "timeout": "50ms"}
    async with scripted_upstream(answer(200, WHOLE)) as claude, shop(claude, ledger=ledger) as (caller, _):
        assert (await ask(caller))[0] == 200
        with nothing_writable(tmp_path):
            assert (await ask(caller))[0] == 200


async def test_a_locked_database_delays_no_request_by_more_than_the_limit_and_loses_no_row(shop, tmp_path):
    ledger = {"timeout": "50ms"}
    async with scripted_upstream(answer(200, WHOLE)) as claude, shop(claude, ledger=ledger) as (caller, _):
        assert (await ask(caller))[0] == 200
        other = sqlite3.connect(tmp_path / "tokenweir.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(5):
            assert (await ask(caller))[0] == 200
        assert any(name.endswith(".journal") for name in os.listdir(tmp_path / "journal"))
        other.execute("ROLLBACK")
        other.close()
        found = await ended(tmp_path, 6)
    assert len({row["request_id"] for row in found}) == 6
    assert {row["cost_nano_usd"] for row in found} == {5 * 10**8}
