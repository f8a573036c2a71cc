"""``tokenweir quotas`` and ``tokenweir usage reconcile`` as an operator types them, beside a gateway that runs."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.identity.store import Store
from gateway.ledger.tables import requests
from tests.support.process import command, make_key, serving
from tests.support.scripted_upstream import answer, scripted_upstream

WHOLE = (
    b'{"type":"message","model":"claude-x","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn",'
    b'"usage":{"input_tokens":100,"output_tokens":200}}'
)
ASK = {"model": "claude-x", "max_tokens": 1000, "messages": [{"role": "user", "content": "hi"}]}
CONFIG = """
[plans.default]
usd_per_month = 5
requests_per_day = 3
concurrent_streams = 4
[plans.default.per_key]
tokens_per_hour = 100_000
[plans.default.per_user]
requests_per_minute = 2
[prices."claude-*"]
input = 1000
output = 2000
cache_read = 1000
cache_write_5m = 1000
cache_write_1h = 1000
"""
NEXT_YEAR = f"{datetime.now(UTC) + timedelta(days=400):%Y-%m-%d}"


@pytest.fixture
def configured(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "gateway.toml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
async def gateway(configured):
    variables = {"ANTHROPIC_API_KEY": "sk-ant-mine", "TOKENWEIR_KEYS__REFRESH": "0.1"}
    async with (
        scripted_upstream(answer(200, WHOLE)) as claude,
        serving(configured, "serve", ANTHROPIC_BASE_URL=claude.url, **variables) as running,
    ):
        running.directory = configured
        running.key = make_key(configured)
        yield running


async def ask(gateway, **given):
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/v1/messages", json=ASK | given, headers={"x-api-key": gateway.key}) as response,
    ):
        return response.status


async def said(gateway, *words):
    """Return what a command says, which must succeed."""
    ended = await command(gateway.directory, *words, "--ops-listen", urlsplit(gateway.ops_url).netloc)
    assert (ended.code, ended.err) == (0, "")
    return ended.out


async def shown(gateway, *words):
    answered = json.loads(await said(gateway, "quotas", "show", "acme", "--json", *words))
    return {limit["name"]: limit for limit in answered["limits"]}


async def test_each_limit_of_a_tenant_and_its_keys_is_shown(gateway):
    assert await ask(gateway) == 200
    lines = (await said(gateway, "quotas", "show", "acme")).splitlines()
    assert lines[0].split() == ["LIMIT", "OF", "USED", "HELD", "AT", "MOST", "RESET", "IN"]
    cells = [line.split() for line in lines[1:]]
    key_id = gateway.key.removeprefix("tw_")[:12]
    assert [line[:5] for line in cells] == [
        ["tenant-requests-per-day", "acme", "1", "0", "3"],
        ["tenant-usd-per-month", "acme", "0.500000", "0.000000", "5.000000"],
        ["tenant-concurrent-streams", "acme", "0", "0", "4"],
        ["key-tokens-per-hour", key_id, "300", "0", "100,000"],
    ]
    assert cells[0][5].endswith(("h", "m", "s"))
    assert cells[2][5] == "-"


async def test_programs_and_end_users_have_theirs(gateway):
    assert await ask(gateway, metadata={"user_id": "ann"}) == 200
    limits = await shown(gateway, "--user", "ann")
    assert (limits["tenant-usd-per-month"]["used"], limits["tenant-usd-per-month"]["remaining"]) == (0.5, 4.5)
    assert limits["user-requests-per-minute"]["used"] == 1
    assert "ann" not in limits["user-requests-per-minute"]["owner"]
    assert "user-requests-per-minute" not in await shown(gateway)


async def test_a_grant_holds_at_once_until_it_is_over_and_is_audited(gateway):
    for _ in range(3):
        assert await ask(gateway) == 200
    assert await ask(gateway) == 429
    words = ("quotas", "grant", "acme", "--requests", "2", "--usd", "10")
    granted = await command(gateway.directory, *words, "--until", NEXT_YEAR)
    assert (granted.code, granted.err) == (0, "")
    assert granted.out.splitlines()[0].startswith("tenant acme: requests_per_day is 2 more until ")
    for _ in range(50):
        limits = await shown(gateway)
        if limits["tenant-requests-per-day"]["limit"] == 5:
            break
    assert limits["tenant-usd-per-month"]["limit"] == 15
    assert await ask(gateway) == 200
    assert await ask(gateway) == 200
    assert await ask(gateway) == 429
    ended = await command(gateway.directory, "quotas", "grant", "acme", "--requests", "0")
    assert ended.out == "tenant acme: requests_per_day is as its plan says again\n"
    limits = await shown(gateway)
    assert (limits["tenant-requests-per-day"]["limit"], limits["tenant-usd-per-month"]["limit"]) == (3, 15)
    engine = open_database(f"sqlite:///{gateway.directory}/data/tokenweir.db")
    try:
        rows = [row for row in Store(engine, actor="test").audit() if row.action == "tenant.grant"]
    finally:
        engine.dispose()
    assert [(row.target, row.details["limits"]) for row in rows] == [
        ("acme", {"requests_per_day": 2, "usd_per_month": 10.0}),
        ("acme", {"requests_per_day": 0}),
    ]
    assert all(row.actor.startswith("cli:") for row in rows)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--usd", "5", "--until", "yesterday"), "--until 'yesterday' is neither a day"),
        (("--usd", "5", "--until", "2020-01-01"), "--until 2020-01-01 is over already"),
        (
            ("--usd", "5", "--per", "day", "--until", NEXT_YEAR),
            "plan default has no usd_per_day to add to; its own limits: ",
        ),
        (("--tokens", "5", "--until", NEXT_YEAR), "requests_per_day, usd_per_month, concurrent_streams"),
        (("--usd", "5"), "--until is missing"),
        (("--until", NEXT_YEAR), "say what to add"),
        (("--usd", "-5", "--until", NEXT_YEAR), "-5.0 is not in the range"),
    ],
)
async def test_a_grant_that_makes_no_sense_is_refused(configured, words, complaint):
    make_key(configured)
    ended = await command(configured, "quotas", "grant", "acme", *words)
    assert ended.code == 2
    assert complaint in ended.err


@pytest.mark.parametrize("words", [("quotas", "show", "acmee"), ("usage", "reconcile", "--tenant", "acmee")])
async def test_a_tenant_that_is_not_there_is_said(configured, words):
    make_key(configured)
    ended = await command(configured, *words)
    assert (ended.code, ended.out) == (2, "")
    assert "there is no tenant 'acmee'; did you mean acme?" in ended.err


async def test_without_a_gateway_it_is_said_where_limits_are(configured):
    make_key(configured)
    ended = await command(configured, "quotas", "show", "acme", "--ops-listen", "127.0.0.1:1")
    assert (ended.code, ended.out) == (2, "")
    assert "no gateway answers at 127.0.0.1:1: what limits have counted is in its memory." in ended.err


async def test_several_workers_without_redis_cannot_be_asked(configured):
    make_key(configured)
    variables = {"TOKENWEIR_SERVER__WORKERS": "2", "TOKENWEIR_LIMITS__PER_WORKER": "true"}
    ended = await command(configured, "quotas", "show", "acme", **variables)
    assert ended.code == 2
    assert "each worker counts its share for itself" in ended.err


async def test_reconcile_finds_nothing_while_all_is_well_and_names_what_is_not(gateway):
    for user in ("ann", "bob", "ann"):
        assert await ask(gateway, metadata={"user_id": user}) == 200
    assert await said(gateway, "usage", "reconcile") == "the limits have counted what the ledger says\n"
    engine = open_database(f"sqlite:///{gateway.directory}/data/tokenweir.db")
    try:
        with transaction(engine, "change") as connection:
            row = connection.execute(requests.select()).mappings().first()
            connection.execute(requests.delete().where(requests.c.request_id == row["request_id"]))
    finally:
        engine.dispose()
    ops = ("--ops-listen", urlsplit(gateway.ops_url).netloc)
    ended = await command(gateway.directory, "usage", "reconcile", *ops)
    assert (ended.code, ended.err) == (1, "")
    assert [line.split() for line in ended.out.splitlines()[1:]] == [
        ["acme", "tenant-requests-per-day", "acme", "2", "3", "1"],
        ["acme", "tenant-usd-per-month", "acme", "1.000000000", "1.500000000", "0.500000000"],
    ]
    ended = await command(gateway.directory, "usage", "reconcile", "--json", "--tenant", "acme", *ops)
    assert ended.code == 1
    assert json.loads(ended.out)["differences"][0] == {
        "tenant": "acme", "scope": "tenant", "owner": "acme", "name": "tenant-requests-per-day", "unit": "requests",
        "ledger": 2, "store": 3,
    }  # fmt: skip


async def test_a_request_that_was_given_back_counts_neither_for_the_limits_nor_in_the_ledger(configured):
    asked, free = asyncio.Event(), asyncio.Event()

    async def busy(peer):
        asked.set()
        await free.wait()
        await answer(200, WHOLE)(peer)

    bounds = {"MAX_CONNECTIONS": "1", "WARM_CONNECTIONS": "0", "POOL_TIMEOUT": "0.05"}
    async with (
        scripted_upstream(busy) as claude,
        serving(
            configured,
            "serve",
            ANTHROPIC_API_KEY="sk-ant-mine",
            ANTHROPIC_BASE_URL=claude.url,
            **{f"TOKENWEIR_UPSTREAM__{name}": value for name, value in bounds.items()},
        ) as gateway,
    ):
        gateway.directory, gateway.key = configured, make_key(configured)
        async with asyncio.TaskGroup() as others:
            first = others.create_task(ask(gateway))
            await asked.wait()
            assert await ask(gateway) == 503
            free.set()
        assert first.result() == 200
        assert (await shown(gateway))["tenant-requests-per-day"]["used"] == 1
        assert await said(gateway, "usage", "reconcile") == "the limits have counted what the ledger says\n"
        used = await command(configured, "usage", "--json")
        assert json.loads(used.out)["total"]["requests"] == 1
