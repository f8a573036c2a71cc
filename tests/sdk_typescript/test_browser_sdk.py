"""Claude's TypeScript SDK in a real browser, on a page of another origin that the configuration lists."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.support.browser import chromium, pages
from tests.support.clients import behind_gateway
from tests.support.node import run_node

HTML = b'<!doctype html><meta charset="utf-8"><script type="module" src="/bundle.mjs"></script>'
PLANS = {"default": {}, "one": {"requests_per_minute": 1}, "small": {"models": ["claude-haiku-*"]}}


@pytest.fixture
async def bundle(node_packages, tmp_path):
    """The page's script with the SDK in it."""
    file = tmp_path / "bundle.mjs"
    code, report = await run_node(
        "node_modules/esbuild/bin/esbuild", "page.mjs", "--bundle", "--format=esm", "--keep-names", f"--outfile={file}"
    )
    assert code == 0, report
    return file.read_bytes()


class Page:
    """A page that is open, and the gateway that its SDK talks to."""

    def __init__(self, page, here):
        self.page = page
        self.here = here

    def key(self, plan):
        gateway = self.here.caller.gateway
        return gateway.store.create_key("acme", gateway.peppers, plan=plan)[1].text

    async def sdk(self, call, *arguments, **options):
        """Call one of the page's functions."""
        options = {"url": self.here.url, "key": self.here.key, **options}
        return await self.page.evaluate("([call, args]) => window.sdk[call](...args)", [call, [options, *arguments]])


@asynccontextmanager
async def opened(tmp_path, bundle, host="127.0.0.1", pace=None):
    async with (
        pages(index_html=HTML, bundle_mjs=bundle) as port,
        behind_gateway(tmp_path, pace, plans=PLANS, server={"cors_origins": [f"http://127.0.0.1:{port}"]}) as here,
        chromium() as browser,
    ):
        page = await browser.new_page()
        await page.goto(f"http://{host}:{port}/index.html")
        await page.wait_for_function("window.sdk")
        yield Page(page, here)


async def test_everything_works_across_origins(tmp_path, bundle):
    """Every preflight passes: the SDK sends authorization, anthropic-* and x-stainless-*."""
    async with opened(tmp_path, bundle) as page:
        streamed = await page.sdk("stream", "What are your opening hours?")
        whole = await page.sdk("create", "What are your opening hours?")
        beta = await page.sdk("beta", "What are your opening hours?")
        counted = await page.sdk("count", "Hello")
        models = await page.sdk("models")
        by_header = await page.sdk("create", "Hello", key=None, defaultHeaders={"x-api-key": page.here.key})
    text = whole["message"]["content"][0]["text"]
    assert text.startswith("We are open")
    assert "".join(piece for piece, _ in streamed["pieces"]) == text
    assert beta["message"]["content"][0]["text"] == text
    assert streamed["id"].startswith("req_011C")
    assert whole["id"].startswith("req_011C")
    assert whole["headers"]["x-request-id"].startswith("req_gw")
    assert counted["input_tokens"] > 0
    assert len(models["names"]) > 10
    assert by_header["message"]["content"]


async def test_tokens_arrive_one_by_one(tmp_path, bundle):
    pace = {"tokens_per_second": 40, "time_to_first_token": 0.05}
    async with opened(tmp_path, bundle, pace=pace) as page:
        pieces = (await page.sdk("stream", "Hello [[sim: tokens=12]]"))["pieces"]
    times = [time for _, time in pieces]
    assert len(pieces) == 12
    assert len({round(time) for time in times}) > 3
    assert times == sorted(times)


async def test_a_page_can_read_what_a_refusal_says(tmp_path, bundle):
    async with opened(tmp_path, bundle) as page:
        key = page.key("one")
        first = await page.sdk("create", "Hello", key=key)
        limited = await page.sdk("create", "Hello", key=key)
        forbidden = await page.sdk("create", "Hello", key=page.key("small"))
        unknown = await page.sdk("stream", "Hello", key="tw_nobody", maxRetries=2)
    assert first["headers"]["ratelimit-policy"]
    assert (limited["error"], limited["status"], limited["type"]) == ("RateLimitError", 429, "rate_limit_error")
    assert 1 <= int(limited["headers"]["retry-after"]) <= 60
    assert limited["headers"]["ratelimit"]
    assert limited["requestID"].startswith("req_gw")
    assert forbidden["error"] == "PermissionDeniedError"
    assert (unknown["error"], unknown["requests"]) == ("AuthenticationError", 1)


async def test_errors_and_retries_are_those_of_a_program(tmp_path, bundle):
    async with opened(tmp_path, bundle) as page:
        overloaded = await page.sdk("stream", "Hello [[sim: error-after=3]]")
        cut = await page.sdk("stream", "Hello [[sim: cut-after=3]]")
        final = await page.sdk("create", "Hello [[sim: status=529; should-retry=false]]", maxRetries=2)
        cured = await page.sdk("create", "Hello [[sim: status=529; retry-after=0.01; count=2; id=page]]")
        operators = await page.sdk("create", "Hello [[sim: status=401]]", maxRetries=2)
    assert overloaded["type"] == "overloaded_error"
    assert cut["type"] == "api_error"
    assert (final["error"], final["requests"]) == ("OverloadedError", 1)
    assert cured["message"]["stop_reason"] == "end_turn"
    assert (operators["status"], operators["requests"]) == (502, 1)


async def test_a_page_that_stops_ends_the_call_to_claude(tmp_path, bundle):
    async with opened(tmp_path, bundle) as page:
        stopped = await page.sdk("stop", "Hello [[sim: stall-after=2]]")
        async with asyncio.timeout(20):
            while not page.here.simulator.stats.cancelled:
                await page.page.evaluate("new Promise(requestAnimationFrame)")
    assert stopped["error"] == "APIUserAbortError"


async def test_a_page_of_an_unlisted_origin_gets_nothing(tmp_path, bundle):
    async with opened(tmp_path, bundle, host="localhost") as page:
        blocked = await page.sdk("stream", "Hello")
        assert page.here.simulator.stats.requests == 0
    assert blocked["error"] == "APIConnectionError"
    assert "pieces" not in blocked
