"""Several gateways on one Redis count together: nobody gets more of a limit than there is, whatever happens to Redis."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from unittest.mock import ANY

import aiohttp
import pytest

from tests.support.observed import eventually
from tests.support.process import command, make_key, serving
from tests.support.redis import MISSING, SERVER, redis_server
from tests.support.scripted_upstream import BLOCK, SSE_HEAD, START, answer, scripted_upstream, text_delta

pytestmark = pytest.mark.skipif(SERVER is None, reason=MISSING)

MESSAGES = "/v1/messages"
ASK = {"model": "claude-x", "max_tokens": 1000, "messages": [{"role": "user", "content": "hi"}]}
# 100 tokens in, 200 out: 0.10 and 0.40 dollars; at most 1,000 out are 2 dollars.
PRICES = """
[prices."claude-*"]
input = 1000
output = 2000
cache_read = 1000
cache_write_5m = 1000
cache_write_1h = 1000
"""
USAGE = b'"usage":{"input_tokens":100,"output_tokens":200}'
WHOLE = (
    b'{"type":"message","model":"claude-x","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn",'
    + USAGE
    + b"}"
)
AT_ONCE = 200
QUICK = {"TOKENWEIR_LIMITS__STORE_TIMEOUT": "0.25"}


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


@asynccontextmanager
async def gateways(directory, redis, script, plan, processes=1, **variables):
    """Run gateways on one Redis and one database, before one Claude; yield their addresses, a session and Claude."""
    # A machine that has other things to do is no Redis that is away.
    variables = {"ANTHROPIC_API_KEY": "sk-ant-mine", "TOKENWEIR_LIMITS__STORE_TIMEOUT": "10", **variables}
    (directory / "config").mkdir()
    limits = "\n".join(f"{name} = {amount}" for name, amount in plan.items())
    text = f'redis_url = "{redis.url}"\n[plans.default]\n{limits}\n{PRICES}'
    (directory / "config" / "gateway.toml").write_text(text, encoding="utf-8")
    async with AsyncExitStack() as stack:
        claude = await stack.enter_async_context(scripted_upstream(script))
        running = [
            await stack.enter_async_context(serving(directory, "serve", ANTHROPIC_BASE_URL=claude.url, **variables))
            for _ in range(processes)
        ]
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, headers={"x-api-key": make_key(directory)})
        )
        yield running, session, claude


async def ask(session, gateway, **given):
    async with session.post(gateway.url + MESSAGES, json=ASK | given) as response:
        return response.status, await response.read()


async def quota(session, gateway):
    async with session.get(f"{gateway.url}/api/quota") as response:
        assert response.status == 200, await response.text()
        return {limit["name"]: (limit["used"], limit["held"]) for limit in (await response.json())["limits"]}


@pytest.mark.parametrize("processes", [1, 2, 4])
async def test_of_200_at_once_only_those_that_the_budget_is_for_are_let_in(processes, tmp_path, redis):
    """Each may cost 2.1 dollars and a bit, and costs 0.5: the budget holds 20 of them."""
    go_on = asyncio.Event()

    async def gated(peer):
        await go_on.wait()
        await answer(200, WHOLE)(peer)

    async with (
        gateways(tmp_path, redis, gated, {"usd_per_month": 50}, processes) as (running, session, claude),
        asyncio.TaskGroup() as tasks,
    ):
        assert await quota(session, running[0]) == {"tenant-usd-per-month": (0, 0)}
        asking = [tasks.create_task(ask(session, running[n % processes])) for n in range(AT_ONCE)]
        await eventually(lambda: sum(task.done() for task in asking) + len(claude.requests) == AT_ONCE)
        admitted = len(claude.requests)
        _, held = (await quota(session, running[0]))["tenant-usd-per-month"]
        assert admitted == 50 // (held / admitted)
        go_on.set()
        statuses = Counter(status for status, _ in await asyncio.gather(*asking))
        assert statuses == {200: admitted, 429: AT_ONCE - admitted}
        assert await quota(session, running[-1]) == {"tenant-usd-per-month": (pytest.approx(0.5 * admitted), 0)}


async def test_the_workers_of_one_gateway_count_together(tmp_path, redis):
    plan, variables = {"requests_per_day": 5}, {"TOKENWEIR_SERVER__WORKERS": "2"}
    async with gateways(tmp_path, redis, answer(200, WHOLE), plan, **variables) as ((gateway,), session, _):
        statuses = []
        for _ in range(8):
            async with aiohttp.ClientSession(headers=session.headers) as new:  # a connection, so that both are met
                statuses.append((await ask(new, gateway))[0])
        assert statuses == [200] * 5 + [429] * 3


async def test_what_ended_while_redis_was_lost_counts_once(tmp_path, redis):
    """Some ended before, some while it was away, some run on: when it is back, empty, ledger and Redis say the same."""
    ends = [asyncio.Event() for _ in range(3)]

    async def script(peer):
        number = json.loads(peer.request.body)["metadata"]["user_id"]
        await ends[int(number)].wait()
        await answer(200, WHOLE)(peer)

    async with (
        gateways(tmp_path, redis, script, {"usd_per_month": 100, "concurrent_streams": 20}, 2) as (
            running,
            session,
            claude,
        ),
        asyncio.TaskGroup() as tasks,
    ):

        def begin(phase, count):
            metadata = {"user_id": str(phase)}
            return [tasks.create_task(ask(session, running[n % 2], metadata=metadata)) for n in range(count)]

        before, meanwhile, after = begin(0, 2), begin(1, 4), begin(2, 6)
        await eventually(lambda: len(claude.requests) == 12)
        ends[0].set()
        await asyncio.gather(*before)
        redis.kill()
        ends[1].set()
        assert {status for status, _ in await asyncio.gather(*meanwhile)} == {200}
        redis.start()
        await ready(session, *running)
        expected = {"tenant-usd-per-month": (pytest.approx(0.5 * 6), ANY), "tenant-concurrent-streams": (0, ANY)}
        await counted(session, running[0], expected)
        ends[2].set()
        assert {status for status, _ in await asyncio.gather(*after)} == {200}
        expected = {"tenant-usd-per-month": (pytest.approx(0.5 * 12), 0), "tenant-concurrent-streams": (0, 0)}
        assert await quota(session, running[1]) == expected
        assert await reconciled(tmp_path) == "the limits have counted what the ledger says\n"


async def reconciled(directory):
    ended = await command(directory, "usage", "reconcile")
    assert ended.err == ""
    return ended.out


async def ready(session, *running):
    """Wait until every gateway says that it can count; asking is what has them look."""
    async with asyncio.timeout(30):
        for gateway in running:
            while True:
                async with session.get(f"{gateway.ops_url}/readyz") as response:
                    if response.status == 200:
                        break
                await asyncio.sleep(0)


async def counted(session, gateway, expected):
    """Wait until limits stand as expected."""
    async with asyncio.timeout(30):
        while await quota(session, gateway) != expected:
            pass


async def test_while_redis_is_frozen_requests_are_refused_at_once_and_it_recovers_by_itself(tmp_path, redis):
    plan = {"concurrent_streams": 20}
    async with gateways(tmp_path, redis, answer(200, WHOLE), plan, **QUICK) as ((gateway,), session, claude):
        assert (await ask(session, gateway))[0] == 200
        redis.freeze()
        for _ in range(4):
            status, body = await ask(session, gateway)
            assert (status, json.loads(body)["error"]["type"]) == (503, "api_error")
            assert b"Limits cannot be counted now" in body
        async with session.get(f"{gateway.ops_url}/readyz") as response:
            assert response.status == 503
            assert (await response.json())["checks"]["limits"] == "limits cannot be counted: the shared store is away"
        asked = len(claude.requests)
        redis.thaw()
        await ready(session, gateway)
        assert (await ask(session, gateway))[0] == 200
        assert len(claude.requests) == asked + 1
        assert await quota(session, gateway) == {"tenant-concurrent-streams": (0, 0)}


async def test_whom_the_operator_lets_in_without_redis_is_counted_when_it_is_back(tmp_path, redis):
    plan, variables = {"usd_per_day": 100}, {"TOKENWEIR_LIMITS__ON_STORE_FAILURE": "allow", **QUICK}
    async with gateways(tmp_path, redis, answer(200, WHOLE), plan, **variables) as ((gateway,), session, _):
        redis.freeze()
        for _ in range(5):
            assert (await ask(session, gateway))[0] == 200
        async with session.get(f"{gateway.ops_url}/readyz") as response:
            assert response.status == 200
        redis.thaw()
        await counted(session, gateway, {"tenant-usd-per-day": (pytest.approx(2.5), 0)})


async def test_what_a_killed_process_held_is_free_within_a_lease_and_counted_once(tmp_path, redis):
    """Its streams are in the ledger and in Redis at what they had used, and the command that compares them says so."""
    plan = {"usd_per_month": 1000, "concurrent_streams": 100}
    async with gateways(tmp_path, redis, begun, plan, 2) as ((one, other), session, _), AsyncExitStack() as stack:
        asked = {**ASK, "stream": True}
        for _ in range(100):
            response = await stack.enter_async_context(session.post(one.url + MESSAGES, json=asked))
            await response.content.readuntil(b"Hel")
        one.signal(signal.SIGKILL)
        limits = await quota(session, other)
        assert limits["tenant-concurrent-streams"] == (0, 100)
        await counted(session, other, {"tenant-usd-per-month": (ANY, 0), "tenant-concurrent-streams": (0, 0)})
        assert await reconciled(tmp_path) == "the limits have counted what the ledger says\n"


async def begun(peer):
    await peer.send(SSE_HEAD)
    await peer.chunk(START + BLOCK + text_delta("Hel"))
    await peer.closed()
