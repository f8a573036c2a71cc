"""A real Prometheus scrapes three gateways under load and faults: what dashboards and rules ask for is there, and right."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager

import aiohttp
import psycopg

from gateway.identity.pepper import FILE_NAME, load_peppers
from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings
from tests.grafana.test_dashboards import PANELS
from tests.support.asking import asking
from tests.support.process import make_key, serving
from tests.support.prometheus import prometheus
from tests.support.redis import redis_server
from tests.support.streaming import AT_ONCE
from tests.support.workers import children, kill
from tools.gen_dashboards import rule_files, write
from tools.monitoring.alerts import ALERTS
from tools.monitoring.recording import GROUPS

SCALE = 0.01
CONFIG = """
[plans.default]
requests_per_minute = 100000
usd_per_month = 1000
per_key = {requests_per_hour = 60}
"""
FAULTS = (
    "",
    "[[sim: status=529]]",
    "[[sim: error-after=2]]",
    "[[sim: reset-after=2]]",
    "[[sim: status=400]]",
    "[[sim: tokens=200; tokens-per-second=100]]",
)
# Series that begin with the first event of a kind that is not caused here, by the metric.
FOR_A_REASON = {
    "tokenweir_thinking_tokens_total": "no model thinks",
    "tokenweir_web_search_requests_total": "no model searches",
    "tokenweir_upstream_failovers_total": "there is one upstream",
    "tokenweir_token_overhead_seconds_bucket": "sampled, one in many thousand tokens",
    "tokenweir_limit_store_failures_total": "Redis does not fail",
    "tokenweir_quota_warnings_total": "no budget is near its end",
    "tokenweir_quota_overshoots_total": "and none is passed",
}
VARIABLES = {"$job": "tokenweir", "$__rate_interval": "30s", "$__range": "1m"}


def asked(expression):
    """Return a panel's expression with what Grafana puts in."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return re.sub(r"\$(?:tenant|model|dialect)\b", ".*", expression)


async def faults(http, url, key):
    """Ask for each fault, leave in the middle of an answer, and come with a wrong key."""
    for fault in FAULTS:
        body = {"message": f"Hello {fault}"}
        async with http.post(f"{url}/api/chat/stream", json=body, headers={"Authorization": f"Bearer {key}"}) as answer:
            if "tokens=200" in fault:
                await answer.content.readany()
            else:
                await answer.read()
    async with http.get(f"{url}/v1/models", headers={"x-api-key": "wrong"}) as answer:
        assert answer.status == 401


def ledger_queries():
    """Return what the dashboards ask of the ledger, with what Grafana puts in."""
    for parameter in PANELS:
        (panel,) = parameter.values
        for target in panel["targets"]:
            if "rawSql" in target:
                text = re.sub(r"\$\{(?:tenant|model):regex\}", ".*", target["rawSql"])
                text = text.replace("$__timeFrom()", "'2026-01-01T00:00:00Z'").replace(
                    "$__timeTo()", "'2100-01-01T00:00:00Z'"
                )
                yield panel["title"], text


async def silent(server):
    """Return what dashboards and recording rules ask for in vain; alerts are to be askable at least."""
    found = {}
    for parameter in PANELS:
        (panel,) = parameter.values
        for target in panel["targets"]:
            if "expr" in target and not await server.ask(asked(target["expr"])):
                found[f"{panel['title']}: {target['expr']}"] = asked(target["expr"])
    for _, records in GROUPS.values():
        for record in records:
            if not await server.ask(record.name):
                found[record.name] = record.expr
    for alerts in ALERTS.values():
        for alert in alerts:
            await server.ask(alert.expr)
    return found


@asynccontextmanager
async def watched(directory, postgresql_url):
    """Two replicas on one PostgreSQL, a gateway with two workers, and what scrapes them; gives it, and (gateway, key) of each."""
    write({directory / "rules" / name: text for name, text in rule_files(SCALE).items()})
    pace = SimulatorSettings(tokens_per_second=200, time_to_first_token=0.02)
    places = one, two, three = [directory / name for name in ("one", "two", "three")]
    for place in places:
        place.mkdir()
        (place / "c.toml").write_text(CONFIG)
    arguments = ("serve", "--config", "c.toml")
    with redis_server(directory) as redis:
        async with await serve_simulator(pace) as claude:
            variables = {**AT_ONCE, "ANTHROPIC_API_KEY": "any", "ANTHROPIC_BASE_URL": claude.url}
            variables |= {"TOKENWEIR_REDIS_URL": redis.url, "TOKENWEIR_UPSTREAM__RETRIES": "1"}
            pepper = str(one / "data" / FILE_NAME)
            shared = {**variables, "TOKENWEIR_DATABASE_URL": postgresql_url, "TOKENWEIR_KEY_PEPPER_FILE": pepper}
            load_peppers(one / "data", None)
            async with (
                serving(one, *arguments, **shared) as first,
                serving(two, *arguments, "--workers", "2", **variables) as second,
                serving(three, *arguments, **shared) as third,
            ):
                targets = [each.ops_url.removeprefix("http://") for each in (first, second, third)]
                async with prometheus(directory, directory / "rules", targets) as server:
                    await server.until(f"count(up == 1) == {len(targets)}")
                    own, keys = make_key(two, "shop"), [make_key(one, "shop", url=postgresql_url) for _ in "13"]
                    yield server, ((first, keys[0]), (second, own), (third, keys[1]))


async def test_every_expression_has_data_under_load_and_faults_or_is_empty_for_a_reason(tmp_path, postgresql):
    url = postgresql.new_database()
    async with watched(tmp_path, url) as (server, gateways), aiohttp.ClientSession() as http:
        # Once before Prometheus knows the series and once after: growth is what most expressions ask for.
        for _ in range(2):
            for gateway, key in gateways:
                await faults(http, gateway.url, key)
            await server.until("sum(tokenweir_requests_total) > 0")
        for gateway, key in gateways:
            async with asking(gateway.url, key) as noted:
                await noted.until(lambda noted=noted: len(noted.bad) > 3)  # 60 an hour, then refused
        await server.until("job:tokenweir_availability_budget_left:ratio")
        empty, firing = await silent(server), await server.firing()
    assert [name for name in empty if not any(reason in name for reason in FOR_A_REASON)] == []
    assert firing <= {"TokenweirAnswersFail", "TokenweirUpstreamFails", "TokenweirStreamsSlow"}
    with psycopg.connect(url) as connection:
        for title, text in ledger_queries():
            assert connection.execute(text).fetchall(), title


async def test_totals_of_workers_and_replicas_are_what_clients_counted_also_after_a_workers_death(tmp_path, postgresql):
    asked = 0
    async with watched(tmp_path, postgresql.new_database()) as (server, gateways):
        for dies in (True, False):
            for gateway, key in gateways:
                async with asking(gateway.url, key) as noted:
                    await noted.more(20)
                asked += noted.good + len(noted.bad)
            if dies:
                several = gateways[1][0]
                kill(next(iter(children(several.process.pid))))
                await several.until("a worker was replaced")
        await server.until(f'sum(tokenweir_requests_total{{route="/api/chat/stream"}}) == {asked}')
        await server.until("sum(tokenweir_workers) == 4 and sum(tokenweir_streams_active) == 0")
        await server.until("sum(tokenweir_worker_deaths_total) == 1")
