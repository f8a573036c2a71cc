"""Pages: files of the package, read once and served from memory, without anything from elsewhere.

- The policy forbids what a page does not need: inline scripts and styles, other hosts, frames, forms.
- Browsers ask again each time, so that a page and its script are of the same version; what they have is not sent again.
- They are compressed at the start. Streams never are.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files

import orjson
from aiohttp import web

from gateway import __version__

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
    "/streaming-demo": "demo/index.html",
    "/streaming-demo/demo.css": "demo/demo.css",
    "/streaming-demo/demo.js": "demo/demo.js",
    "/streaming-demo/icon.svg": "icon.svg",
}

Handler = Callable[[web.Request], Awaitable[web.Response]]


def add_demo(app: web.Application, *, pretend: bool) -> None:
    """Add the page on which a chat can be tried; it is made by ``web/demo``.

    Args:
        app: Gets the routes.
        pretend: Claude is the pretend one: the page has controls for it.
    """
    add_files(app, _DEMO)
    about = orjson.dumps({"version": __version__, "pretend": pretend})
    app.router.add_get("/streaming-demo/about.json", fixed(about, "application/json"))


def add_files(app: web.Application, routes: Mapping[str, str]) -> None:
    """Add routes of files."""
    for path, name in routes.items():
        app.router.add_get(path, fixed((_FILES / name).read_bytes(), _TYPES[name.rpartition(".")[2]]))


def fixed(body: bytes, content_type: str) -> Handler:
    """Return a handler that always gives the same answer."""
    charset = None if content_type == "application/json" else "utf-8"
    etag = hashlib.sha256(body).hexdigest()[:16]
    headers = {**_HEADERS, "ETag": f'W/"{etag}"', "Vary": "Accept-Encoding"}
    packed = gzip.compress(body, mtime=0)

    async def handler(request: web.Request) -> web.Response:
        if any(known.value == etag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=body, content_type=content_type, charset=charset, headers=headers)
        answer = web.Response(body=packed, content_type=content_type, charset=charset, headers=headers)
        answer.headers["Content-Encoding"] = "gzip"
        return answer

    return handler
