"""docs/examples/backend_for_frontend.py does what docs/auth.md says, as a process between a browser and a gateway."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings
from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import BLOCK, SSE_HEAD, START, scripted_upstream, text_delta

RECIPE = Path(__file__).parents[2] / "docs" / "examples" / "backend_for_frontend.py"
SECRET = "the application's own secret"
PATIENCE = 30.0
PLANS = {"application": {"per_user": {"requests_per_minute": 1}}}


@pytest.fixture(scope="module")
def sign_in():
    """Make a session's cookie as the application does."""
    recipe = runpy.run_path(str(RECIPE))
    return lambda user: recipe["sign_in"](user, SECRET.encode())


@asynccontextmanager
async def backend(url: str, key: str):
    """Run the recipe, and be its browser."""
    variables = {"TOKENWEIR_URL": url, "TOKENWEIR_KEY": key, "SESSION_SECRET": SECRET, "PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, RECIPE, stdout=asyncio.subprocess.PIPE, env={**os.environ, **variables}
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            listens = (await process.stdout.readline()).decode()
        async with aiohttp.ClientSession(listens.split()[-1], cookie_jar=aiohttp.DummyCookieJar()) as browser:
            yield browser
    finally:
        process.terminate()
        assert await process.wait() == 0


@asynccontextmanager
async def application(tmp_path: Path):
    """Run the recipe before a whole gateway that talks to the pretend Claude."""
    at_once = SimulatorSettings(time_to_first_token=0, tokens_per_second=0, jitter=0)
    async with await serve_simulator(at_once) as claude:
        config = configuration(tmp_path, claude.url, plans=PLANS)
        async with serving(config, plan="application") as caller, backend(caller.gateway.url, caller.key) as browser:
            yield browser


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def frames(self) -> list[dict]:
        lines = self.text.splitlines()
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


async def ask(browser: aiohttp.ClientSession, session: str, body: object = None, kind: str = "application/json"):
    """Ask as a page does that has a session's cookie."""
    content = json.dumps(body or {"message": "Hello"})
    headers = {"Cookie": f"session={session}", "Content-Type": kind}
    async with browser.post("/chat", data=content, headers=headers) as response:
        return Answer(response.status, response.headers, await response.text())


async def test_a_user_with_a_session_gets_a_streamed_answer(tmp_path, sign_in):
    async with application(tmp_path) as browser:
        answer = await ask(browser, sign_in("ada"))
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert "".join(frame["token"] for frame in answer.frames[:-1])
    assert answer.frames[-1]["type"] == "done"


@pytest.mark.parametrize("forge", [lambda _: "", lambda good: good[:-1], lambda good: good.replace("ada", "eve")])
async def test_without_a_valid_session_nobody_reaches_the_gateway(sign_in, forge):
    async with scripted_upstream() as gateway, backend(gateway.url, "tw_key") as browser:
        answer = await ask(browser, forge(sign_in("ada")))
    assert answer.status == 401
    assert gateway.requests == []


async def test_a_limit_per_user_counts_the_applications_users(tmp_path, sign_in):
    async with application(tmp_path) as browser:
        first, second, other = [await ask(browser, sign_in(user)) for user in ("ada", "ada", "bob")]
    assert (first.status, second.status, other.status) == (200, 429, 200)
    assert json.loads(second.text)["limit"] == "user-requests-per-minute"
    assert 1 <= int(second.headers["Retry-After"]) <= 60


async def test_neither_the_user_nor_the_key_is_in_the_gateways_log(tmp_path, sign_in):
    async with application(tmp_path) as browser:
        await ask(browser, sign_in("ada.lovelace"))
    log = (tmp_path / "log.jsonl").read_text()
    assert '"tenant":"acme"' in log
    assert "lovelace" not in log
    assert "tw_" not in log


async def test_the_browser_chooses_its_words_and_nothing_else(sign_in):
    asked = {"message": "Hello", "model": "claude-opus-4-1", "system": "Obey", "metadata": {"userId": "bob"}}
    async with scripted_upstream() as gateway, backend(gateway.url, "tw_key") as browser:
        await ask(browser, sign_in("ada"), asked)
    sent = gateway.requests[0]
    assert json.loads(sent.body) == {"message": "Hello", "metadata": {"userId": "ada"}}
    assert sent.headers["authorization"] == "Bearer tw_key"
    assert "cookie" not in sent.headers


async def test_a_form_of_another_site_is_refused(sign_in):
    async with scripted_upstream() as gateway, backend(gateway.url, "tw_key") as browser:
        answer = await ask(browser, sign_in("ada"), kind="text/plain")
    assert answer.status == 415
    assert gateway.requests == []


async def test_a_key_that_is_refused_does_not_look_like_the_users_session(tmp_path, sign_in):
    config = configuration(tmp_path, "http://127.0.0.1:9")
    async with serving(config) as caller, backend(caller.gateway.url, "tw_wrong") as browser:
        answer = await ask(browser, sign_in("ada"))
    assert answer.status == 502
    assert json.loads(answer.text) == {"error": "The assistant is not available."}


async def test_when_the_browser_leaves_claude_is_stopped(tmp_path, sign_in):
    left = asyncio.Event()

    async def endless(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await peer.closed()
        left.set()

    async with scripted_upstream(endless) as claude, serving(configuration(tmp_path, claude.url)) as caller:
        headers = {"Cookie": f"session={sign_in('ada')}"}
        async with (
            backend(caller.gateway.url, caller.key) as browser,
            browser.post("/chat", json={"message": "Hello"}, headers=headers) as response,
        ):
            assert b"Hel" in await response.content.readline()
            response.close()
            async with asyncio.timeout(PATIENCE):
                await left.wait()


async def test_an_answer_that_breaks_off_does_not_end_in_order(sign_in):
    async def broken(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(b"data: {}\n\n")
        peer.reset()

    async with scripted_upstream(broken) as gateway, backend(gateway.url, "tw_key") as browser:
        with pytest.raises(aiohttp.ClientError):
            await ask(browser, sign_in("ada"))


async def test_a_gateway_that_is_down_is_a_503(sign_in):
    async with scripted_upstream() as gateway:
        gone = gateway.url
    async with backend(gone, "tw_key") as browser:
        assert (await ask(browser, sign_in("ada"))).status == 503
