"""The example application, built with the packed client, in a real browser: what docs/frontend.md shows works."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from aiohttp import web
from playwright.async_api import expect

from tests.support.browser import chromium
from tests.support.clients import behind_gateway
from tests.support.observed import eventually
from tests.web_client.conftest import npm

QUESTION = "What are your opening hours?"
PACE = {"tokens_per_second": 40, "time_to_first_token": 0.05}


@asynccontextmanager
async def served(directory):
    """Serve a directory's files; gives the origin."""
    app = web.Application()
    app.router.add_static("/", directory)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def opened(tmp_path, example):
    """Build the application for a gateway of another origin, and open it; gives the page, its address and the gateway."""
    built = tmp_path / "built"
    built.mkdir()
    async with served(built) as origin:
        sections = {
            "anonymous": [{"origins": [origin], "tenant": "shop", "plan": "browser"}],
            "plans": {"browser": {}},
        }
        async with behind_gateway(tmp_path, PACE, **sections) as here, chromium() as browser:
            # The address is the application's: it must have survived the package's own build.
            build = ("run", "build", "--silent", "--", "--outDir", str(built), "--emptyOutDir")
            await asyncio.to_thread(npm, example, *build, VITE_API_URL=here.url)
            page = await browser.new_page()
            said = []
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            yield page, f"{origin}/index.html", here
            assert said == []


async def test_a_chatbot_that_waited_for_the_whole_answer_now_streams(tmp_path, example):
    async with opened(tmp_path, example) as (page, address, here):
        await page.goto(f"{address}#old-chatbot")
        await page.get_by_label("Question").fill(QUESTION)
        await page.get_by_role("button", name="Ask").click()
        await expect(page.locator("p.assistant")).to_contain_text("We are open")

        await page.goto(f"{address}#chatbot")
        await page.get_by_label("Question").fill(QUESTION)
        await page.get_by_role("button", name="Ask").click()
        await expect(page.locator(".streaming-text")).to_contain_text("We are")
        await expect(page.locator("p.assistant")).to_contain_text("We are open")
        await expect(page.locator(".streaming-text")).to_have_count(0)
        await page.reload()
        await expect(page.locator("p.user")).to_have_text(QUESTION)
        await expect(page.locator("p.assistant")).to_contain_text("We are open")

        await page.get_by_label("Question").fill("More [[sim: tokens=500]]")
        await page.get_by_role("button", name="Ask").click()
        await expect(page.locator(".streaming-text")).not_to_have_text("…")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator("p.assistant")).to_have_count(2)
        await eventually(lambda: here.simulator.stats.cancelled > 0)

        await page.get_by_label("Question").fill("And now [[sim: tokens=9; error-after=3; count=1]]")
        await page.get_by_role("button", name="Ask").click()
        await page.get_by_role("alert").get_by_role("button", name="Try again").click()
        await expect(page.locator("p.assistant")).to_have_count(3)
        await expect(page.get_by_role("alert")).to_have_count(0)


async def test_the_component_is_a_whole_chat_with_its_own_styles(tmp_path, example):
    async with opened(tmp_path, example) as (page, address, _):
        await page.goto(f"{address}#support")
        box = page.get_by_placeholder("Posez votre question...")
        await box.fill("Compare your plans in a table")
        await box.press("Enter")
        await expect(page.locator(".streaming-text table")).to_be_visible()
        await expect(page.get_by_role("article", name="Assistant")).to_contain_text("Duration")
        await expect(page.get_by_role("button", name="Send")).to_have_css("background-color", "rgb(11, 110, 99)")


async def test_a_ticket_gets_its_reply_as_it_is_written_and_a_search_its_answer_and_figures_are_told(tmp_path, example):
    async with opened(tmp_path, example) as (page, address, here):
        for name in ("old-ticket", "ticket"):
            await page.goto(f"{address}#{name}")
            await page.get_by_role("button", name="Suggest a reply").click()
            await expect(page.get_by_label("Reply")).not_to_have_value("")
        await page.get_by_role("button", name="Stop").click()
        await eventually(lambda: here.simulator.stats.cancelled > 0)

        await page.goto(f"{address}#search")
        await page.get_by_label("Question").fill("When is the shop open?")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator("output")).not_to_be_empty()
        await page.goto(f"{address}#tracked")
        await page.get_by_role("button", name="Ask").click()
        told = page.locator("pre", has_text="chat_answered")
        await expect(told).to_contain_text('"tokenCount":44')
        await expect(told).to_contain_text('"averageSpeed"')
