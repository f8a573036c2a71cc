"""The deployed frontend, unchanged but for its API address, works against ``tokenweir demo``: in a browser and in Node."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.browser import chromium, pages
from tests.support.node import require_node, run_node
from tests.support.process import serving

HERE = Path(__file__).parent
QUESTION = "What are your opening hours?"
AT_ONCE = "[[sim: tokens-per-second=0; time-to-first-token=0]]"
LIMITED = """async (url) => {
    const response = await fetch(url, { headers: { Accept: "text/event-stream" } });
    const headers = Object.fromEntries(["Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id"]
        .map((name) => [name, response.headers.get(name)]));
    return { status: response.status, headers, body: response.status === 200 ? null : await response.json() };
}"""


@asynccontextmanager
async def frontend(tmp_path, *, proxied=False):
    """Open the frontend's page in a browser; gives the page and the API address that it has."""
    files = {"index_html": (HERE / "page.html").read_bytes(), "client_mjs": (HERE / "client.mjs").read_bytes()}
    async with (
        serving(tmp_path, "demo") as demo,
        pages(api=demo.url if proxied else None, **files) as port,
        chromium() as browser,
    ):
        page = await browser.new_page()
        page.demo = demo
        await page.goto(f"http://localhost:{port}/index.html")
        await page.wait_for_function("window.chat")
        yield page, "" if proxied else demo.url


async def chat(page, api, message, system=None):
    return await page.evaluate("(given) => window.chat(...given)", [api, message, system])


@pytest.mark.parametrize("proxied", [False, True], ids=["cross-origin", "same-origin"])
async def test_the_answer_arrives_token_by_token(tmp_path, proxied):
    """From a page of another port, and from the same origin, where the browser sends no Origin at all."""
    async with frontend(tmp_path, proxied=proxied) as (page, api):
        sent = asyncio.get_running_loop().create_future()
        page.on("request", lambda request: sent.done() or sent.set_result(request))
        answer = await chat(page, api, QUESTION)
        headers = await (await sent).all_headers()
    *texts, done = answer["seen"]
    assert answer["text"].startswith("We are open Monday to Friday")
    assert answer["text"] == "".join(frame["token"] for frame in texts)
    assert {frame["type"] for frame in texts} == {"text"}
    assert len(texts) == 44
    assert len({round(frame["at"]) for frame in texts}) > 10
    assert len({frame["timestamp"] for frame in texts}) > 10
    assert done["type"] == "done"
    assert done["metadata"]["usage"]["outputTokens"] == 44
    assert not headers.keys() & {"authorization", "x-api-key", "cookie"}
    assert ("origin" in headers) is not proxied


async def test_system_prompts_and_long_messages_of_any_script_fit_into_the_query(tmp_path):
    async with frontend(tmp_path) as (page, api):
        french = await chat(page, api, f"{QUESTION} {AT_ONCE}", "Answer in French.")
        chinese = await chat(page, api, "你好" * 2700 + AT_ONCE)
        too_long = await chat(page, api, "你好" * 2750)
    assert french["text"].startswith("C'est une bonne question")
    assert chinese["text"]
    assert too_long["error"] == "HTTP error! status: 414"


async def test_what_fails_is_told_in_a_sentence_and_never_taken_for_an_answer(tmp_path):
    async with frontend(tmp_path) as (page, api):
        failed = await chat(page, api, "Hello [[sim: error-after=3; tokens-per-second=0]]")
        cut = await chat(page, api, "Hello [[sim: cut-after=3; tokens-per-second=0]]")
        ended = await chat(page, api, "Hello [[sim: end-after=3; tokens-per-second=0]]")
        refused = await chat(page, api, "Hello [[sim: status=400]]")
        empty = await chat(page, api, "")
    for broken in (failed, cut, ended):
        assert "text" not in broken
        assert len(broken["seen"]) == 3
        assert broken["error"].endswith(".")
    assert refused["error"] == empty["error"] == "HTTP error! status: 400"


async def test_the_eleventh_request_in_a_minute_is_a_429_that_the_page_can_read(tmp_path):
    async with frontend(tmp_path) as (page, api):
        url = f"{api}/api/chat/stream?message=Hi"
        answers = [await page.evaluate(LIMITED, url) for _ in range(11)]
        told = await chat(page, api, "Hi")
    *taken, limited = answers
    assert [answer["status"] for answer in taken] == [200] * 10
    assert limited["status"] == 429
    assert 1 <= int(limited["headers"]["Retry-After"]) <= 60
    assert limited["body"]["error"] == "Too many requests"
    assert limited["body"]["retryAfter"] == int(limited["headers"]["Retry-After"])
    assert all(limited["headers"].values())
    assert told["error"] == "HTTP error! status: 429"


async def test_a_page_that_gives_up_or_is_closed_ends_its_stream(tmp_path):
    """The client gives up 60 s after the start, by a clock that the test turns on."""
    async with frontend(tmp_path) as (page, api):
        await page.clock.install()
        waiting = page.evaluate("(given) => window.chat(...given)", [api, "Hello [[sim: stall-after=2]]", None])
        async with asyncio.TaskGroup() as group:
            given_up = group.create_task(waiting)
            await page.wait_for_function("window.received.length >= 2")
            await page.clock.fast_forward(60_000)
        left = await given_up
        assert await _active(page.demo, 0)
        await page.evaluate("(given) => { window.chat(...given) }", [api, "Hello [[sim: stall-after=2]]", None])
        await page.wait_for_function("window.received.length >= 4")
        assert await _active(page.demo, 1)
        await page.close()
        assert await _active(page.demo, 0)
    assert left["error"] == "Request timed out"


async def _active(demo, number):
    """Wait until the gateway says that so many streams are under way."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{demo.ops_url}/metrics") as answer:
                if f"\ntokenweir_streams_active {number}.0\n" in await answer.text():
                    return True


async def test_the_client_works_under_node_as_in_a_browser(tmp_path):
    require_node()
    async with serving(tmp_path, "demo") as demo:
        code, said = await run_node(str(HERE / "node.mjs"), demo.url, QUESTION, "http://localhost:3000")
        outcome = json.loads(said)
        strangers = await run_node(str(HERE / "node.mjs"), demo.url, QUESTION, "https://elsewhere.example")
    assert code == 0
    assert outcome["text"].startswith("We are open Monday to Friday")
    assert outcome["kinds"] == ["text"] * 44 + ["done"]
    assert outcome["moments"] > 10
    assert json.loads(strangers[1])["error"] == "HTTP error! status: 401"
