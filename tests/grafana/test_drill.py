"""Something is broken for real, and the alert for it fires, and no other. Windows are a hundredth of the true ones.

``make drill`` runs this alone and says what it does.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp

from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings
from tests.support.process import command, make_key, serving
from tests.support.prometheus import prometheus
from tests.support.redis import redis_server
from tests.support.streaming import AT_ONCE
from tools.gen_dashboards import rule_files, write

SCALE = 0.01
CONFIG = """
[limits]
on_store_failure = "allow"

[plans.default]
usd_per_month = 1000

[plans.small]
requests_per_day = 20
"""


class Drill:
    """A gateway that answers all the time, with everything around it."""

    def __init__(self, gateway, http, directory, redis, server):
        self.gateway, self.redis, self.server = gateway, redis, server
        self._http, self._directory = http, directory
        self.fault = ""

    async def key_of(self, plan):
        """Make a tenant of a plan; return a key of it."""
        await command(self._directory, "tenants", "create", plan, "--plan", plan, "--config", "c.toml")
        made = await command(self._directory, "keys", "create", "--tenant", plan, "--json", "--config", "c.toml")
        return json.loads(made.out)["key"]

    async def ask(self, key):
        headers = {"Authorization": f"Bearer {key}"}
        body = {"message": f"Hello {self.fault}"}
        async with self._http.post(f"{self.gateway.url}/api/chat/stream", json=body, headers=headers) as answer:
            await answer.read()

    async def go_on(self):
        key = make_key(self._directory)
        while True:
            await self.ask(key)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def drill(directory, **sections):
    """Start it, and have it asked without a pause; nothing fires at first."""
    write({directory / "rules" / name: text for name, text in rule_files(SCALE).items()})
    (directory / "c.toml").write_text(CONFIG)
    pace = SimulatorSettings(tokens_per_second=0, time_to_first_token=0.01)
    with redis_server(directory) as redis:
        async with await serve_simulator(pace) as claude, aiohttp.ClientSession() as http:
            variables = {**AT_ONCE, "ANTHROPIC_API_KEY": "any", "ANTHROPIC_BASE_URL": claude.url}
            variables |= {"TOKENWEIR_REDIS_URL": redis.url, **sections}
            async with serving(directory, "serve", "--config", "c.toml", **variables) as gateway:
                target = gateway.ops_url.removeprefix("http://")
                async with prometheus(directory, directory / "rules", [target]) as server:
                    here = Drill(gateway, http, directory, redis, server)
                    here.asking = asyncio.get_running_loop().create_task(here.go_on())
                    try:
                        await server.until("job:tokenweir_availability_bad:ratio_rate5m == 0")
                        assert await server.firing() == set()
                        yield here
                    finally:
                        here.asking.cancel()
                        await asyncio.wait([here.asking])


async def fires(here, name):
    await here.server.until(f'ALERTS{{alertstate="firing",alertname="{name}"}}')
    assert await here.server.firing() == {name}


async def silent(here):
    await here.server.until('absent(ALERTS{alertstate="firing"})')


async def test_claude_fails_so_often_that_retries_hide_it(tmp_path):
    async with drill(tmp_path, TOKENWEIR_UPSTREAM__RETRIES="2") as here:
        here.fault = "[[sim: status=529; probability=0.3]]"
        await fires(here, "TokenweirUpstreamFails")
        here.fault = ""
        await silent(here)


async def test_claude_refuses_our_key(tmp_path):
    async with drill(tmp_path) as here:
        here.fault = "[[sim: status=401]]"
        await here.server.until('ALERTS{alertstate="firing",alertname="TokenweirCredentialRefused"}')
        assert await here.server.firing() <= {"TokenweirCredentialRefused", "TokenweirAnswersFail"}


async def test_redis_is_frozen(tmp_path):
    async with drill(tmp_path) as here:
        here.redis.freeze()
        await fires(here, "TokenweirLimitStoreDown")
        here.redis.thaw()
        await silent(here)


async def test_a_quota_is_exhausted(tmp_path):
    async with drill(tmp_path) as here:
        key = await here.key_of("small")
        for _ in range(20):
            await here.ask(key)
        await fires(here, "TokenweirQuotaNearEnd")


async def test_the_gateway_is_gone(tmp_path):
    async with drill(tmp_path) as here:
        here.asking.cancel()
        here.gateway.process.kill()
        await fires(here, "TokenweirNotScraped")
