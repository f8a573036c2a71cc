"""The demo page in a real browser, against a gateway that lets this machine's browsers in, and the pretend Claude."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import expect

from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings
from tests.support.browser import chromium
from tests.support.gateway import configuration, serving
from tests.support.node import WEB, require_packages
from tests.support.observed import eventually

QUESTION = "What are your opening hours?"
NATURAL = SimulatorSettings()
QUICK = SimulatorSettings(tokens_per_second=100, time_to_first_token=0.05)
LOOPBACK = ({"origins": ["loopback", "same-origin"], "tenant": "demo", "plan": "default"},)
# Notes whenever the live text has grown by the next frame, and whether the cursor is there.
WATCH = """() => {
    window.seen = [];
    const look = () => {
        const live = document.querySelector(".streaming-text");
        const length = live?.textContent.length ?? 0;
        const cursor = document.querySelector(".blinking-cursor") !== null;
        const last = window.seen.at(-1);
        if (last?.length !== length || last.cursor !== cursor) window.seen.push({ length, cursor });
        requestAnimationFrame(look);
    };
    look();
}"""


@asynccontextmanager
async def demo_page(folder, pace=QUICK, anonymous=LOOPBACK, *, pretend=True, anonymous_default=None, **options):
    """Open the page; gives it, the pretend Claude, and what the console and the network complained of."""
    sections = {"anonymous": list(anonymous), "anonymous_default": anonymous_default or {"requests": 1000}}
    async with await serve_simulator(pace) as claude:
        config = configuration(folder, claude.url, upstream={"retries": 0, "breaker_failures": 0}, **sections)
        claudes = tuple(upstream.model_copy(update={"pretend": pretend}) for upstream in config.upstreams)
        config = config.model_copy(update={"upstreams": claudes})
        async with serving(config) as caller, chromium() as browser:
            context = await browser.new_context(**options)
            page = await context.new_page()
            complaints: list[str] = []
            note = complaints.append
            page.on("console", lambda message: message.type in {"error", "warning"} and note(message.text))
            page.on("pageerror", lambda error: note(str(error)))
            page.on("request", lambda request: request.url.startswith(caller.gateway.url) or note(request.url))
            page.address = f"{caller.gateway.url}/streaming-demo"
            page.caller = caller
            await page.goto(page.address)
            yield page, claude, complaints


async def ask(page, text):
    await page.get_by_role("textbox", name="Ask your question...").fill(text)
    await page.keyboard.press("Enter")


async def until(locator, function, argument=None):
    """Wait until a function of an element holds; Playwright's own way is against the page's policy."""
    async with asyncio.timeout(20):
        while not await locator.evaluate(function, argument):
            pass


def answer(page):
    return page.get_by_role("article", name="Assistant").last


async def test_tokens_appear_one_by_one_with_a_cursor_and_true_figures_and_history_survives_a_reload(tmp_path):
    async with demo_page(tmp_path, NATURAL) as (page, _, complaints):
        await page.evaluate(WATCH)
        await ask(page, QUESTION)
        await expect(page.locator(".blinking-cursor")).to_have_css("animation-duration", "1s")
        await expect(answer(page)).to_contain_text("Duration")
        await expect(answer(page)).to_contain_text("We are open Monday to Friday")
        told = await answer(page).inner_text()
        seen = await page.evaluate("window.seen")
        await page.reload()
        await expect(answer(page)).to_contain_text("We are open Monday to Friday")
        await expect(page.locator(".blinking-cursor")).to_have_count(0)
    lengths = [look["length"] for look in seen if look["cursor"]]
    # 44 of them, unless the machine is so busy that several arrive together.
    assert len(set(lengths)) > 10
    assert [look["cursor"] for look in (seen[0], seen[-1])] == [False, False]
    assert 15 <= float(re.search(r"([\d.]+) tokens/s", told)[1]) <= 25
    assert re.search(r"Tokens\s+44\b", told)
    assert re.search(r"Cost\s+\$0\.000\d+", told)
    assert complaints == []


async def test_stop_ends_the_answer_here_and_at_claude(tmp_path):
    async with demo_page(tmp_path) as (page, claude, complaints):
        await ask(page, "Tell me a story [[sim: tokens=100000]]")
        await expect(page.locator(".streaming-text")).to_contain_text(" ")
        assert claude.stats.active == 1
        await page.get_by_role("button", name="Stop").click()
        await eventually(lambda: claude.stats.cancelled == 1 and claude.stats.active == 0)
        await expect(answer(page)).to_contain_text("Stopped")
        await ask(page, QUESTION)
        await expect(answer(page)).to_contain_text("We are open")
    assert complaints == []


async def test_a_page_that_is_closed_stops_claude(tmp_path):
    async with demo_page(tmp_path) as (page, claude, _):
        await ask(page, "Tell me a story [[sim: tokens=100000]]")
        await expect(page.locator(".streaming-text")).to_contain_text(" ")
        await page.close()
        await eventually(lambda: claude.stats.cancelled == 1 and claude.stats.active == 0)


@pytest.mark.parametrize(
    ("fault", "said", "kept"),
    [
        ("error", "The assistant is very busy right now.", True),
        ("cut", "The answer was interrupted.", True),
        ("busy", "The assistant is very busy right now.", False),
    ],
)
async def test_what_fails_is_told_and_can_be_tried_again(tmp_path, fault, said, kept):
    """The fault is for one answer; the page's control asks for it."""
    async with demo_page(tmp_path) as (page, _, _):
        await page.get_by_label("The next answer").select_option(fault)
        await ask(page, QUESTION)
        await expect(page.get_by_role("alert")).to_contain_text(said)
        await expect(page.get_by_text("Incomplete")).to_have_count(int(kept))
        await expect(page.get_by_label("The next answer")).to_have_value("none")
        await page.get_by_role("button", name="Try again").click()
        await expect(answer(page)).to_contain_text("We are open")
        await expect(page.get_by_role("alert")).to_have_count(0)
        await expect(page.get_by_role("article", name="You")).to_have_count(1)


async def test_a_connection_that_is_lost_and_comes_back(tmp_path):
    async with demo_page(tmp_path) as (page, _, _):
        await page.context.set_offline(True)
        await ask(page, QUESTION)
        await expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
        await page.context.set_offline(False)
        await page.get_by_role("button", name="Try again").click()
        await expect(answer(page)).to_contain_text("We are open")


async def test_a_slow_network_still_shows_the_answer_as_it_comes(tmp_path):
    async with demo_page(tmp_path, NATURAL) as (page, _, complaints):
        devtools = await page.context.new_cdp_session(page)
        slow = {"offline": False, "latency": 400, "downloadThroughput": 4000, "uploadThroughput": 4000}
        await devtools.send("Network.emulateNetworkConditions", slow)
        await page.evaluate(WATCH)
        await ask(page, QUESTION)
        await expect(answer(page)).to_contain_text("Duration")
        seen = await page.evaluate("window.seen")
    assert len({look["length"] for look in seen}) > 3
    assert complaints == []


async def test_a_limit_says_when_to_come_back(tmp_path):
    async with demo_page(tmp_path, anonymous_default={"requests": 1, "window": 4}) as (page, _, _):
        await ask(page, QUESTION)
        await expect(answer(page)).to_contain_text("Duration")
        await ask(page, QUESTION)
        await expect(page.get_by_role("alert")).to_contain_text("You have reached the limit")
        await expect(page.get_by_text(re.compile(r"Try again in \d seconds?\."))).to_be_visible()
        retry = page.get_by_role("button", name="Try again")
        await expect(retry).to_be_disabled()
        await expect(retry).to_be_enabled()
        await retry.click()
        await expect(page.get_by_role("article", name="Assistant")).to_have_count(2)


async def test_where_the_page_is_not_let_in_it_asks_for_a_key(tmp_path):
    async with demo_page(tmp_path, anonymous=()) as (page, _, _):
        await ask(page, QUESTION)
        await expect(page.get_by_role("alert")).to_contain_text("not signed in")
        await page.get_by_label("API key").fill(page.caller.key)
        await ask(page, QUESTION)
        await expect(answer(page)).to_contain_text("We are open")
        await page.reload()
        await expect(page.get_by_label("API key")).to_have_value(page.caller.key)


async def test_two_tabs_have_a_conversation_each(tmp_path):
    async with demo_page(tmp_path) as (page, claude, complaints):
        other = await page.context.new_page()
        await other.goto(page.address)
        for tab in (page, other):
            await ask(tab, "Tell me a story [[sim: tokens=100000]]")
            await expect(tab.locator(".streaming-text")).to_contain_text(" ")
        assert claude.stats.active == 2
        await page.get_by_role("button", name="Stop").click()
        await eventually(lambda: claude.stats.active == 1)
        await expect(other.get_by_role("button", name="Stop")).to_be_visible()
        await other.get_by_role("button", name="New conversation").click()
        await expect(other.get_by_role("article")).to_have_count(2)  # those of the comparison
        await expect(page.get_by_role("article", name="You")).to_have_count(1)
    assert complaints == []


async def test_the_same_question_with_and_without_streaming(tmp_path):
    """The ratio is that of the page's own two times; 9 with nothing else on the machine, and with much else some less."""
    async with demo_page(tmp_path, NATURAL) as (page, _, complaints):
        await page.get_by_role("button", name="Ask both").click()
        await expect(page.get_by_role("button", name="Ask both again")).to_be_enabled()
        times = {}
        for name in ("With streaming", "Without streaming"):
            lane = page.get_by_role("article", name=name)
            await expect(lane).to_contain_text("We are open Monday to Friday")
            times[name] = float(await lane.locator("dd").first.get_attribute("data-measured"))
        shown = float((await page.locator(".ratio strong").inner_text()).split()[0])
    assert shown == pytest.approx(times["Without streaming"] / times["With streaming"], abs=0.06)
    assert times["With streaming"] > 250
    assert times["Without streaming"] > 2300
    assert shown > 4
    assert complaints == []


async def test_the_pretend_claude_can_be_paced(tmp_path):
    async with demo_page(tmp_path, NATURAL) as (page, claude, complaints):
        await page.get_by_label("Very fast").check(force=True)
        await page.get_by_label("The next answer").select_option("long")
        await ask(page, QUESTION)
        await expect(answer(page)).to_contain_text("1,000")
        assert claude.stats.tokens == 1000
        await expect(page.get_by_role("article", name="You")).to_have_text(QUESTION)
    assert complaints == []


async def test_a_real_claude_has_no_controls(tmp_path):
    async with demo_page(tmp_path, pretend=False) as (page, _, complaints):
        await expect(page.locator("footer")).to_contain_text("Tokenweir")
        await expect(page.get_by_text("Pretend Claude")).to_have_count(0)
    assert complaints == []


async def test_it_follows_what_is_written_until_the_reader_scrolls_up(tmp_path):
    async with demo_page(tmp_path) as (page, _, complaints):
        log = page.get_by_role("log")
        at_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 40"
        await ask(page, "Tell me a story [[sim: tokens=100000; tokens-per-second=400]]")
        await until(log, "log => log.scrollTop > 300")
        assert await log.evaluate(at_end)
        await log.hover()
        await page.mouse.wheel(0, -250)
        to_latest = page.get_by_role("button", name="To the latest message")
        await expect(to_latest).to_be_visible()
        height = await log.evaluate("log => log.scrollHeight")
        await until(log, "(log, height) => log.scrollHeight > height", height)
        assert not await log.evaluate(at_end)
        await to_latest.click()
        await expect(to_latest).to_have_count(0)
        assert await log.evaluate(at_end)
        await page.keyboard.press("Escape")
    assert complaints == []


async def test_snippets_name_this_gateway_and_can_be_copied(tmp_path):
    permissions = ["clipboard-read", "clipboard-write"]
    async with demo_page(tmp_path, permissions=permissions) as (page, _, complaints):
        for name in ("Component", "Hook", "curl", "Python"):
            await page.get_by_role("button", name=name, exact=True).click()
            await page.locator(".tabs .copy").click()
            copied = await page.evaluate("navigator.clipboard.readText()")
            assert page.caller.gateway.url in copied
            assert copied == await page.locator(".code pre").inner_text()
    assert complaints == []


async def test_it_speaks_french(tmp_path):
    async with demo_page(tmp_path, locale="fr-FR") as (page, _, complaints):
        await page.get_by_role("textbox", name="Posez votre question...").fill("Quels sont vos horaires ?")
        await page.get_by_role("button", name="Envoyer").click()
        await expect(page.get_by_role("article", name="Assistant").last).to_contain_text("Durée")
        assert await page.evaluate("document.documentElement.lang") == "fr"
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_follows_its_colours_and_is_accessible(tmp_path, scheme):
    require_packages(WEB)
    axe = (WEB / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    viewport = {"width": 360, "height": 640}
    async with demo_page(tmp_path, viewport=viewport, color_scheme=scheme, has_touch=True) as (page, _, complaints):
        await ask(page, "Hello " + "x" * 200 + " [[sim: tokens=400; tokens-per-second=0]]")
        await expect(answer(page)).to_contain_text("Duration")
        await ask(page, "Compare your plans in a table")
        await expect(answer(page).locator("table")).to_be_visible()
        await expect(answer(page)).to_contain_text("Duration")
        await page.get_by_label("The next answer").select_option("busy")
        await ask(page, QUESTION)
        await expect(page.get_by_role("alert")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        red = await page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        await page.evaluate(axe)
        found = (await page.evaluate("axe.run()"))["violations"]
    assert (int(red) < 128) is (scheme == "dark")
    assert json.dumps([violation["id"] for violation in found if violation["impact"] in {"serious", "critical"}]) == "[]"
    assert [complaint for complaint in complaints if "529" not in complaint] == []


async def test_who_wants_no_motion_has_none(tmp_path):
    async with demo_page(tmp_path, reduced_motion="reduce") as (page, _, _):
        await ask(page, "Tell me a story [[sim: tokens=100000]]")
        await expect(page.locator(".blinking-cursor")).to_have_css("animation-name", "none")
