"""Pages: files of the package, read once and served from memory, without anything from elsewhere.

- The policy forbids what a page does not need: inline scripts and styles, other hosts, frames, forms.
- Browsers ask again each time, so that a page and its script are of the same version.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files

from aiohttp import web

_FILES = files("gateway.web") / "static"
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
_DEMO = {
    "/streaming-demo": "demo.html",
    "/streaming-demo/demo.css": "demo.css",
    "/streaming-demo/demo.js": "demo.js",
    "/streaming-demo/icon.svg": "icon.svg",
}

Handler = Callable[[web.Request], Awaitable[web.Response]]


def add_demo(app: web.Application) -> None:
    """Add the page on which a chat can be tried."""
    add_files(app, _DEMO)


def add_files(app: web.Application, routes: Mapping[str, str]) -> None:
    """Add routes of files."""
    for path, name in routes.items():
        app.router.add_get(path, fixed((_FILES / name).read_bytes(), _TYPES[name.rpartition(".")[2]]))


def fixed(body: bytes, content_type: str) -> Handler:
    """Return a handler that always gives the same answer."""
    charset = None if content_type == "application/json" else "utf-8"

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type, charset=charset, headers=_HEADERS)

    return handler
