"""An application's backend between its own users and Tokenweir.

    TOKENWEIR_URL=http://127.0.0.1:8080 TOKENWEIR_KEY=tw_... SESSION_SECRET=... python backend_for_frontend.py

- The browser talks to this backend alone: it sends the application's session and never sees a key.
- The backend decides who asks, and tells Tokenweir as ``metadata.userId``: limits under ``per_user`` count by it.
- The answer goes through as it comes. When the browser leaves, the call is cancelled, and so is Claude's.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import signal
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

COOKIE = "session"
# Of Tokenweir's answer the browser gets the body, and these.
PASSED = ("Content-Type", "Cache-Control", "X-Accel-Buffering", "Retry-After", "X-Request-Id")

SECRET = web.AppKey("secret", bytes)
TOKENWEIR = web.AppKey("tokenweir", aiohttp.ClientSession)


def sign_in(user: str, secret: bytes) -> str:
    """Return the value of a session cookie. Yours comes from your framework, this one shows where it is checked."""
    return f"{user}.{hmac.digest(secret, user.encode(), 'sha256').hex()}"


def user_of(request: web.Request) -> str | None:
    """Return the user whose session the request brings, None without a valid one."""
    user, _, signature = request.cookies.get(COOKIE, "").rpartition(".")
    valid = hmac.compare_digest(sign_in(user, request.app[SECRET]), f"{user}.{signature}")
    return user if user and valid else None


async def chat(request: web.Request) -> web.StreamResponse:
    """Answer the application's own route: the session in, Claude's answer out."""
    user = user_of(request)
    if user is None:
        return web.json_response({"error": "Please sign in."}, status=401)
    # A page of another origin cannot send this type without a preflight, which nobody here answers: no CSRF.
    if request.content_type != "application/json":
        return web.json_response({"error": "Send application/json."}, status=415)
    asked = await request.json()
    # Only what the browser may choose is taken over. The model, the system prompt and the user are not.
    body = {"message": asked.get("message"), "metadata": {"userId": user}}
    try:
        async with request.app[TOKENWEIR].post("/api/chat/stream", json=body) as answer:
            # A 401 or 403 is about the key of this backend: to the browser it must not look like its own session's.
            if answer.status in (401, 403):
                return web.json_response({"error": "The assistant is not available."}, status=502)
            return await _pass_through(request, answer)
    except aiohttp.ClientConnectionError:
        return web.json_response({"error": "The assistant is not available."}, status=503)


async def _pass_through(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    headers = {name: answer.headers[name] for name in PASSED if name in answer.headers}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    except aiohttp.ClientError:
        # The answer is incomplete. An orderly end would tell the browser that it is whole.
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


def create_app(url: str, key: str, secret: bytes) -> web.Application:
    """Return the backend."""

    async def tokenweir(app: web.Application) -> AsyncIterator[None]:
        # Tokenweir writes at least every 15 s, so a longer silence means that the connection is dead.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        headers = {"Authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(url, headers=headers, timeout=timeout) as session:
            app[TOKENWEIR] = session
            yield

    app = web.Application()
    app[SECRET] = secret
    app.cleanup_ctx.append(tokenweir)
    app.router.add_post("/chat", chat)
    return app


async def main() -> None:
    """Serve until a signal."""
    app = create_app(os.environ["TOKENWEIR_URL"], os.environ["TOKENWEIR_KEY"], os.environ["SESSION_SECRET"].encode())
    # handler_cancellation: without it a handler runs on when its browser has gone, and Claude with it.
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ.get("PORT", "3000"))).start()
    host, port = runner.addresses[0][:2]
    print(f"listens on http://{host}:{port}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
