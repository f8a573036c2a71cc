"""Whether the demo page stays responsive: 10 000 tokens at 500 a second in a real browser.

``python -m tools.bench.page``; it needs Chromium, and listens on two ports of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.async_api import Page, async_playwright

LISTEN, OPS = "127.0.0.1:18080", "127.0.0.1:19464"
# Lengths of long tasks, and the moment of each frame.
WATCH = """() => {
    window.tasks = [];
    window.frames = [];
    new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((task) => task.duration)))
        .observe({ type: "longtask" });
    const frame = (now) => { window.frames.push(now); requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
}"""


@contextmanager
def _gateway(tokens: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "gateway", "demo", "--listen", LISTEN, "--ops-listen", OPS]
        environ = {"TOKENWEIR_DATA_DIR": directory, "TOKENWEIR_CHAT__MAX_TOKENS": str(tokens)}
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603 - our own
            if not running.stdout or not any("Stop with" in line for line in running.stdout):
                raise SystemExit("the gateway did not start")
            yield f"http://{LISTEN}/streaming-demo"
            running.kill()


async def _heap(page: Page) -> float:
    """Return MiB of JavaScript's heap after a collection."""
    tools = await page.context.new_cdp_session(page)
    await tools.send("HeapProfiler.enable")
    await tools.send("HeapProfiler.collectGarbage")
    used = (await tools.send("Runtime.getHeapUsage"))["usedSize"]
    return float(used) / 2**20


async def _shown(page: Page) -> int:
    """Return how many tokens the page says it has."""
    digits = re.sub(r"\D", "", await page.locator(".figures dd").nth(2).inner_text())
    return int(digits or 0)


def _tell(line: str) -> None:
    print(line)  # noqa: T201 - a command


def _frames_a_second(frames: list[float]) -> list[int]:
    """Return how many frames each whole second had."""
    seconds = int((frames[-1] - frames[0]) / 1000)
    return [sum(1 for at in frames if n <= (at - frames[0]) / 1000 < n + 1) for n in range(seconds)]


async def _measure(page: Page, tokens: int, rate: int) -> None:
    before = await _heap(page)
    await page.evaluate(WATCH)
    box = page.get_by_role("textbox", name="Ask your question...")
    await box.fill(f"Tell me a story [[sim: tokens={tokens}; tokens-per-second={rate}; jitter=0]]")
    await box.press("Enter")
    for part in (1, 2, 3):
        at = tokens * part // 4
        await page.locator(".streaming-text").wait_for()
        while await _shown(page) < at:
            await page.wait_for_timeout(200)
        _tell(f"heap at {at:6} tokens  {await _heap(page):8.1f} MiB")
    await page.get_by_text("Duration").wait_for(timeout=300_000)
    told = (await page.locator("article[aria-label=Assistant] dl").first.inner_text()).replace("\n", " ")
    tasks, frames = await page.evaluate("[window.tasks, window.frames]")
    each = _frames_a_second(frames)
    _tell(f"heap before, after     {before:8.1f}, {await _heap(page):.1f} MiB")
    _tell(f"longest task           {max(tasks, default=0):8.0f} ms ({len(tasks)} of 50 ms and more)")
    _tell(f"frames a second        {min(each):8} at least, {sum(each) / len(each):.0f} on average")
    _tell(f"told by the page       {told}")


async def _main(tokens: int, rate: int) -> None:
    with _gateway(tokens) as url:
        await _browse(url, tokens, rate)


async def _browse(url: str, tokens: int, rate: int) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1240, "height": 900})
        await page.goto(url)
        await _measure(page, tokens, rate)
        await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=500, help="tokens a second")
    options = parser.parse_args()
    asyncio.run(_main(options.tokens, options.rate))
