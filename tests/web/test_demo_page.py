"""The demo page in a real browser, against a gateway that lets this machine's browsers in, and the pretend Claude."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings
from tests.support.browser import chromium
from tests.support.gateway import configuration, serving

QUESTION = "What are your opening hours?"
PACED = SimulatorSettings(tokens_per_second=100, time_to_first_token=0.05)
LOOPBACK = ({"origins": ["loopback", "same-origin"], "tenant": "demo", "plan": "default"},)
# Notes the length of the answer whenever it changes, before the next frame is drawn.
WATCH = """() => {
    window.lengths = new Set();
    new MutationObserver(() => {
        const text = document.querySelector(".answer .text");
        if (text) window.lengths.add(text.textContent.length);
    }).observe(document.getElementById("transcript"), { childList: true, subtree: true, characterData: true });
}"""


@asynccontextmanager
async def demo_page(folder, anonymous=LOOPBACK, **options):
    """Open the page; gives it, the pretend Claude, and what the console and the network complained of."""
    sections = {
        "anonymous": list(anonymous),
        **{name: options.pop(name) for name in ("anonymous_default",) if name in options},
    }
    async with (
        await serve_simulator(PACED) as claude,
        serving(configuration(folder, claude.url, **sections)) as caller,
        chromium() as browser,
    ):
        page = await browser.new_page(**options)
        complaints: list[str] = []
        page.on("console", lambda message: message.type in {"error", "warning"} and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(caller.gateway.url) or complaints.append(request.url))
        await page.goto(f"{caller.gateway.url}/streaming-demo")
        page.caller = caller
        yield page, claude, complaints


async def ask(page, text):
    await page.fill("#message", text)
    await page.press("#message", "Enter")


async def last_answer(page):
    await page.wait_for_selector(".answer:last-child:not(.running)")
    return {name: await page.text_content(f".answer:last-child .{name}") for name in ("text", "problem", "stats")}


async def test_tokens_appear_one_by_one_and_nothing_is_complained_of(tmp_path):
    async with demo_page(tmp_path) as (page, _, complaints):
        await page.evaluate(WATCH)
        await ask(page, QUESTION)
        answer = await last_answer(page)
        lengths = await page.evaluate("[...window.lengths]")
    assert answer["text"].startswith("We are open Monday to Friday")
    assert answer["problem"] == ""
    assert "first token after" in answer["stats"]
    assert "44 tokens" in answer["stats"]
    assert "tokens/s" in answer["stats"]
    # All 44 of them, unless the machine is so busy that several arrive together.
    assert len(lengths) > 10
    assert lengths == sorted(lengths)
    assert complaints == []


async def test_an_example_can_be_chosen_instead_of_typing(tmp_path):
    async with demo_page(tmp_path) as (page, _, complaints):
        await page.click("#examples button")
        answer = await last_answer(page)
        assert await page.text_content(".question") == QUESTION
        assert await page.query_selector("#welcome") is None
    assert answer["text"].startswith("We are open")
    assert complaints == []


async def test_stop_ends_the_answer_here_and_at_claude(tmp_path):
    async with demo_page(tmp_path) as (page, claude, complaints):
        await ask(page, "Tell me a story [[sim: tokens=100000]]")
        await page.wait_for_selector(".answer .text:not(:empty)")
        assert claude.stats.active == 1
        await page.click("#stop")
        stopped = await last_answer(page)
        async with asyncio.timeout(10):
            while not claude.stats.cancelled:
                await page.evaluate("1")  # the browser and the gateway get their turn
        assert claude.stats.active == 0
        await ask(page, QUESTION)
        again = await last_answer(page)
    assert stopped["text"]
    assert stopped["stats"].endswith("stopped")
    assert stopped["problem"] == ""
    assert again["text"].startswith("We are open")
    assert complaints == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("error-after=3", "Claude is overloaded at the moment."),
        ("cut-after=3", "The connection to Claude ended"),
        ("status=400; message=Too long.", "Too long."),
    ],
)
async def test_what_fails_is_told_and_never_taken_for_an_answer(tmp_path, fault, said):
    async with demo_page(tmp_path) as (page, _, _):
        await ask(page, f"Hello [[sim: {fault}]]")
        answer = await last_answer(page)
    assert said in answer["problem"]
    assert answer["stats"].endswith("failed")


async def test_a_stream_that_ends_without_its_last_frame_was_cut(tmp_path):
    """As from a proxy on the way that closes the connection in order when the gateway has been killed."""
    frame = 'data: {"token":"Hel","type":"text","timestamp":1}\n\n'
    async with demo_page(tmp_path) as (page, _, _):
        await page.route(
            "**/api/chat/stream*", lambda route: route.fulfill(body=frame, content_type="text/event-stream")
        )
        await ask(page, QUESTION)
        answer = await last_answer(page)
    assert answer["text"] == "Hel"
    assert answer["problem"] == "The answer was cut before its end."


async def test_a_limit_says_when_to_come_back(tmp_path):
    async with demo_page(tmp_path, anonymous_default={"requests": 1, "window": 3}) as (page, _, _):
        await ask(page, QUESTION)
        await last_answer(page)
        await ask(page, QUESTION)
        answer = await last_answer(page)
        assert "Too many requests" in answer["problem"]
        assert "Try again in " in answer["problem"]
        assert await page.is_disabled("#send")
        await page.wait_for_selector("#send:enabled")
        assert "You can try again now." in await page.text_content(".answer:last-child .problem")


async def test_where_the_page_is_not_let_in_it_asks_for_a_key(tmp_path):
    async with demo_page(tmp_path, anonymous=()) as (page, _, _):
        await ask(page, QUESTION)
        refused = await last_answer(page)
        await page.fill("#key", page.caller.key)
        await ask(page, QUESTION)
        answer = await last_answer(page)
    assert "API key is required" in refused["problem"]
    assert answer["text"].startswith("We are open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_and_follows_its_colours(tmp_path, scheme):
    viewport = {"width": 360, "height": 640}
    async with demo_page(tmp_path, viewport=viewport, color_scheme=scheme, has_touch=True) as (page, _, complaints):
        await ask(page, "Hello " + "x" * 200 + " [[sim: tokens=400; tokens-per-second=0]]")
        await last_answer(page)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        assert await page.evaluate("document.documentElement.scrollHeight") <= 640
        red = await page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        box = await (await page.query_selector("#message")).bounding_box()
    assert (int(red) < 128) is (scheme == "dark")
    assert box["y"] + box["height"] <= 640
    assert complaints == []
