"""A real browser, and a web server for the pages that it opens: another origin than the gateway's."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from playwright.async_api import Browser, async_playwright
from yarl import URL

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
_OF_ONE_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "server", "date"})
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
async def pages(api: str | None = None, **files: bytes) -> AsyncIterator[int]:
    """Serve files by name (``page_html`` is ``/page.html``) on this machine; gives the port.

    ``http://127.0.0.1:port`` and ``http://localhost:port`` are two origins. With ``api`` the server is a proxy too, as
    nginx in front of a frontend: everything below ``/api/`` is passed on to it, with the browser's headers.
    """
    app = web.Application()
    if api is not None:
        app.router.add_get("/api/{path:.*}", _passing_on(api))
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


def _passing_on(api: str):
    async def handler(request: web.Request) -> web.StreamResponse:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            url = URL(api).join(request.rel_url)
            async with session.get(url, headers=request.headers) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_ONE_HOP}
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                return response

    return handler


def _answer(content: bytes, kind: str):
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return handler
