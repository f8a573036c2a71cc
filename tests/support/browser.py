"""A real browser, and a web server for the pages that it opens: another origin than the gateway's."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from playwright.async_api import Browser, async_playwright

from tests.support.node import missing

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_TYPES = {"html": "text/html", "js": "text/javascript", "mjs": "text/javascript"}


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start Debian's Chromium, or whatever is called so; without one skip, in CI fail."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        missing("Chromium is needed: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def pages(**files: bytes) -> AsyncIterator[int]:
    """Serve files by name (``page_html`` is ``/page.html``) on this machine; gives the port.

    ``http://127.0.0.1:port`` and ``http://localhost:port`` are two origins.
    """
    app = web.Application()
    for name, content in files.items():
        stem, _, suffix = name.rpartition("_")
        app.router.add_get(f"/{stem}.{suffix}", _answer(content, _TYPES[suffix]))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _answer(content: bytes, kind: str):
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return handler
