"""Limits of tokens and dollars through the whole pipeline: held for the worst case, settled at what was used."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.scripted_upstream import BLOCK, END, HELLO, SSE_HEAD, START, answer, scripted_upstream, stream, text_delta

CHAT = "/api/chat/stream"
MESSAGES = "/v1/messages"
# A dollar per thousand tokens of input, two of output: numbers that can be read off.
PRICES = {"claude-*": {"input": 1000, "output": 2000, "cache_read": 1000, "cache_write_5m": 1000, "cache_write_1h": 1000}}
ASK = {"model": "claude-x", "max_tokens": 1000, "messages": [{"role": "user", "content": "hi"}]}
SAY = {"model": "claude-x", "maxTokens": 1000, "message": "hi"}
USAGE = b'"usage":{"input_tokens":100,"output_tokens":200}'
# 100 tokens in, 200 out: 0.10 and 0.40 dollars.
WHOLE = b'{"type":"message","model":"claude-x","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn",' + USAGE + b"}"
REFUSED = b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}'


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **plan: observed(configuration(tmp_path, claude.url, plans={"default": plan}, prices=PRICES))


async def ask(caller, path=MESSAGES, body=None, **headers):
    async with caller.post(path, body or ASK, **headers) as response:
        return response.status, response.headers, await (response.json() if body is None else response.read())


async def limits(caller):
    """Return used and held of every limit, by name."""
    async with caller.get("/api/quota") as response:
        assert response.status == 200
        return {limit["name"]: (limit["used"], limit["held"]) for limit in (await response.json())["limits"]}


async def test_a_user_id_that_the_chat_route_would_not_take_is_refused(shop):
    async with scripted_upstream() as claude, shop(claude) as (caller, _):
        async with caller.get("/api/quota?userId=" + "u" * 256) as response:
            assert response.status == 200
        async with caller.get("/api/quota?userId=" + "u" * 257) as response:
            assert response.status == 400
            assert "userId: at most 256 characters, not 257" in await response.text()


@pytest.mark.parametrize(("path", "body"), [(MESSAGES, ASK), (CHAT, {**SAY, "stream": False})])
async def test_a_budget_is_charged_what_was_used_and_the_answer_says_so(shop, path, body):
    async with scripted_upstream(answer(200, WHOLE)) as claude, shop(claude, usd_per_month=5) as (caller, outcomes):
        async with caller.post(path, body) as response:
            assert response.status == 200
            assert response.headers["X-Tokenweir-Cost-Usd"] == "0.500000000"
            assert response.headers["RateLimit"].startswith('"tenant-usd-per-month";r=4500000;t=')
        assert (await outcomes.only()).cost_usd == 0.5
        assert await limits(caller) == {"tenant-usd-per-month": (0.5, 0.0)}


async def test_a_budget_that_is_used_up_refuses_for_good_and_says_when_it_begins_anew(shop):
    async with scripted_upstream(answer(200, WHOLE)) as claude, shop(claude, usd_per_day=2.5) as (caller, outcomes):
        assert (await ask(caller))[0] == 200
        status, headers, body = await ask(caller)
        assert status == 429
        assert headers["x-should-retry"] == "false"
        assert 1 <= int(headers["Retry-After"]) <= 86_400
        assert body["error"]["type"] == "rate_limit_error"
        assert re.search(r"tenant-usd-per-day .* begins anew at \d{4}-\d\d-\d\dT00:00:00Z", body["error"]["message"])
        async with caller.post(CHAT, SAY) as response:
            assert response.status == 429
            assert response.headers["x-should-retry"] == "false"
            told = await response.json()
            assert (told["limit"], told["retryable"]) == ("tenant-usd-per-day", False)
        assert len(claude.requests) == 1
    assert [outcome.limit for outcome in outcomes.all] == [None, "tenant-usd-per-day", "tenant-usd-per-day"]


async def test_what_others_hold_makes_a_request_wait_for_a_moment(shop):
    go_on = asyncio.Event()

    async def gated(peer):
        async with asyncio.timeout(20):
            await go_on.wait()
        await answer(200, WHOLE)(peer)

    async with scripted_upstream(gated) as claude, shop(claude, usd_per_month=3) as (caller, _), asyncio.TaskGroup() as group:
        first = group.create_task(ask(caller))
        await eventually(lambda: len(claude.requests) == 1)
        status, headers, _ = await ask(caller)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "x-should-retry" not in headers
        go_on.set()
        assert (await first)[0] == 200
        assert (await ask(caller))[0] == 200


async def test_of_two_hundred_requests_at_once_those_that_the_budget_can_pay_are_let_in(shop):
    """Each holds 2 dollars and some cents, and uses 50 cents."""
    go_on = asyncio.Event()

    async def gated(peer):
        async with asyncio.timeout(30):
            await go_on.wait()
        await answer(200, WHOLE)(peer)

    async with scripted_upstream(gated) as claude, shop(claude, usd_per_month=42) as (caller, outcomes):
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(caller)) for _ in range(200)]
            await outcomes.reach(180)
            await eventually(lambda: len(claude.requests) == 20)
            go_on.set()
        statuses = [task.result()[0] for task in asked]
        assert (statuses.count(200), statuses.count(429)) == (20, 180)
        assert await limits(caller) == {"tenant-usd-per-month": (10.0, 0.0)}


async def test_a_rate_holds_the_usual_so_that_large_max_tokens_do_not_shut_others_out(shop):
    body = {**ASK, "max_tokens": 64_000}
    async with scripted_upstream(answer(200, WHOLE)) as claude, shop(claude, tokens_per_minute=10_000) as (caller, _):
        for _ in range(3):
            assert (await ask(caller, body=body))[0] == 200
        assert await limits(caller) == {"tenant-tokens-per-minute": (900, 0)}


async def test_a_request_that_could_never_pass_is_told_what_to_change(shop):
    async with scripted_upstream() as claude, shop(claude, output_tokens_per_day=999) as (caller, _):
        status, _, body = await ask(caller)
        assert status == 400
        assert body["error"]["message"] == (
            "This request may use up to 1,000 output tokens; tenant-output-tokens-per-day of your plan is 999 output "
            "tokens. Lower max_tokens."
        )
        assert not claude.requests


SEARCH = {**ASK, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}


async def test_what_may_cost_any_amount_is_refused_under_a_budget_of_dollars(shop):
    async with scripted_upstream() as claude, shop(claude, usd_per_month=100) as (caller, _):
        async with caller.post(MESSAGES, SEARCH) as response:
            assert response.status == 403
            assert "web_search_20250305" in (await response.json())["error"]["message"]
            assert '"tenant-usd-per-month";r=100000000' in response.headers["RateLimit"]


@pytest.mark.parametrize("plan", [{"tokens_per_day": 100_000}, {"usd_per_month": 100, "allow_unbounded": True}])
async def test_without_such_a_budget_or_with_leave_it_passes(shop, plan):
    async with scripted_upstream(answer(200, WHOLE)) as claude, shop(claude, **plan) as (caller, _):
        assert (await ask(caller, body=SEARCH))[0] == 200


async def test_past_the_soft_threshold_answers_and_metrics_warn(shop):
    async with scripted_upstream(answer(200, WHOLE)) as claude, shop(claude, usd_per_month=2.7) as (caller, _):
        async with caller.post(MESSAGES, ASK) as response:
            assert "X-Tokenweir-Quota-Warning" not in response.headers
        async with caller.post(MESSAGES, ASK) as response:  # 0.5 used and 2 held of 2.7, and 1 used in the end
            assert "X-Tokenweir-Quota-Warning" not in response.headers
        async with caller.post(CHAT, {**SAY, "maxTokens": 800}) as response:
            assert response.headers["X-Tokenweir-Quota-Warning"].startswith("tenant-usd-per-month;used=9")
            await response.read()
        async with caller.session.get(f"{caller.gateway.ops_url}/metrics") as response:
            text = await response.text()
        assert 'tokenweir_quota_warnings_total{limit="tenant-usd-per-month"} 2.0' in text
        assert 'tokenweir_tenant_quota_used_ratio{tenant="acme"} 0.9' in text


async def test_the_done_frame_says_what_is_left(shop):
    async with scripted_upstream(stream(HELLO)) as claude, shop(claude, tokens_per_month=100_000) as (caller, outcomes):
        async with caller.post(CHAT, SAY) as response:
            done = (await response.text()).splitlines()[-2]
        await outcomes.only()
        # 12 and 3 of the cache in, 5 out.
        assert '"limit":100000,"used":20,"held":0,"remaining":99980,' in done
        assert '"name":"tenant-tokens-per-month"' in done


# However a request ends.


async def _silent(peer):
    await peer.closed()


async def _begun(peer):
    await peer.send(SSE_HEAD)
    await peer.chunk(START + BLOCK + text_delta("Hel"))
    await peer.closed()


@pytest.mark.parametrize(("script", "told"), [(_silent, False), (_begun, True)])
async def test_a_client_that_leaves_is_charged_for_what_claude_had_to_read(shop, script, told):
    """Before Claude says how much that was, it is the estimate."""
    async with scripted_upstream(script) as claude, shop(claude, input_tokens_per_day=100_000) as (caller, outcomes):
        request = asyncio.get_running_loop().create_task(ask(caller, body={**ASK, "stream": True}))
        await eventually(lambda: len(claude.requests) == 1)
        if told:
            (job,) = caller.gateway.services.streams.running
            await eventually(lambda: job.relay.timing.first_token is not None)
        request.cancel()
        outcome = await outcomes.only()
        assert (outcome.kind, outcome.usage.estimated) == ("disconnected", True)
        entered = outcome.usage.input_tokens + outcome.usage.cache_read_tokens
        assert entered == 15 if told else entered > 15
        assert await limits(caller) == {"tenant-input-tokens-per-day": (entered, 0)}


async def test_what_claude_refuses_costs_the_request_and_no_tokens(shop):
    plan = {"usd_per_month": 5, "requests_per_day": 10, "tokens_per_minute": 5000}
    async with scripted_upstream(answer(400, REFUSED)) as claude, shop(claude, **plan) as (caller, outcomes):
        assert (await ask(caller))[0] == 400
        assert (await outcomes.only()).usage is None
        assert await limits(caller) == {
            "tenant-usd-per-month": (0, 0),
            "tenant-requests-per-day": (1, 0),
            "tenant-tokens-per-minute": (0, 0),
        }


async def test_a_count_of_tokens_is_a_request_and_nothing_more(shop):
    plan = {"usd_per_month": 5, "requests_per_day": 10}
    async with scripted_upstream(answer(200, b'{"input_tokens":14}')) as claude, shop(claude, **plan) as (caller, _):
        body = {key: value for key, value in ASK.items() if key != "max_tokens"}
        async with caller.post(f"{MESSAGES}/count_tokens", body) as response:
            assert response.status == 200
            assert "X-Tokenweir-Cost-Usd" not in response.headers
        assert await limits(caller) == {"tenant-usd-per-month": (0, 0), "tenant-requests-per-day": (1, 0)}


async def test_a_budget_may_be_overshot_by_what_could_not_be_foreseen_and_that_is_counted(shop):
    dear = WHOLE.replace(b'"input_tokens":100', b'"input_tokens":9100')
    async with scripted_upstream(answer(200, dear)) as claude, shop(claude, usd_per_month=3) as (caller, _):
        assert (await ask(caller))[0] == 200
        assert await limits(caller) == {"tenant-usd-per-month": (9.5, 0.0)}
        async with caller.session.get(f"{caller.gateway.ops_url}/metrics") as response:
            text = await response.text()
        assert 'tokenweir_quota_overshoots_total{limit="tenant-usd-per-month"} 1.0' in text
        assert 'tokenweir_quota_overshoot_usd_total{limit="tenant-usd-per-month"} 6.5' in text
        assert 'tokenweir_quota_settlements_total{kind="exact"} 1.0' in text


async def test_an_answer_that_runs_says_what_it_used_so_far(shop):
    async with scripted_upstream(_begun) as claude, shop(claude, usd_per_month=5) as (caller, _):
        async with caller.post(MESSAGES, {**ASK, "stream": True}) as response:
            services = caller.gateway.services
            (holding,) = services.streams.holds.values()
            await response.content.readuntil(b"Hel")
            assert holding.checkpoint().spent["output_tokens"] == 0
            holding.note()
            amounts = holding.checkpoint().spent
        assert amounts["requests"] == 1
        assert amounts["usd"] == amounts["input_tokens"] * 10**6 + amounts["output_tokens"] * 2 * 10**6
        assert amounts["output_tokens"] > 0
