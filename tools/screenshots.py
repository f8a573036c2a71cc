"""Pictures of the demo page for docs/images: ``python -m tools.screenshots`` beside ``RATE_LIMIT_MAX=100 make run``."""

from __future__ import annotations

import argparse
import asyncio
import shutil
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1240, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1240, "height": 900}},
    "mobile": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "has_touch": True},
}


async def _show(page: Page) -> None:
    """Have the page show an answer, the two compared, and one that is being written."""
    await page.get_by_role("button", name="What are your opening hours?").click()
    await page.get_by_text("Duration").wait_for()
    await page.get_by_role("button", name="Ask both").click()
    await page.locator(".ratio strong").wait_for()
    box = page.get_by_role("textbox", name="Ask your question...")
    await box.fill("Compare your plans in a table")
    await box.press("Enter")
    await page.locator(".streaming-text table td").nth(3).wait_for()


async def _picture(browser: Browser, url: str, name: str, look: dict[str, object]) -> None:
    page = await browser.new_page(**look)  # type: ignore[arg-type]
    await page.goto(url)
    await _show(page)
    await page.screenshot(path=IMAGES / f"demo-{name}.png", full_page=True)
    await page.close()


async def _main(url: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, look in LOOKS.items():
            await _picture(browser, url, name, look)
        await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080/streaming-demo", help="address of the page")
    asyncio.run(_main(parser.parse_args().url))
