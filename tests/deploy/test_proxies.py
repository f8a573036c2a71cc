"""Each file in deploy/proxies in the real program, before a whole gateway; clients come by HTTPS."""

from __future__ import annotations

import asyncio
import io
import json
import re
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from gateway.core.units import parse_duration
from gateway.upstream.settings import TransportSettings
from gateway.web.settings import ServerSettings
from tests.support.browser import chromium
from tests.support.gateway import configuration, serving
from tests.support.proxies import NAMES, proxy, snippet
from tests.support.scripted_upstream import BLOCK, END, HELLO, SSE_HEAD, START, scripted_upstream, stream, text_delta
from tests.support.upstreams import refusing_port

PATIENCE = 30.0
SOON = 8.0  # before the gateway writes of its own accord: commit_after is 10 s
FRONTEND = Path(__file__).parents[1] / "legacy_frontend"
PROMPT = "您好吗" * 1820  # 16 380 bytes, three times that when encoded
QUESTION = {"role": "user", "content": "Hello"}
MESSAGE = {"model": "claude-sonnet-5-5", "max_tokens": 9, "stream": True, "messages": [QUESTION]}
ANYBODY = {
    "server": {"trusted_proxies": ["127.0.0.1"]},
    "anonymous": [{"origins": ["same-origin"], "tenant": "shop"}],
}
# An entry comes a moment after its answer's end.
PROTOCOLS = """() => {
    const entries = performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/api/"))
    return entries.length > 0 && entries.map((entry) => entry.nextHopProtocol)
}"""
# What ends a stream in each when nothing comes.
LIMITS = {
    "nginx": ("proxy_read_timeout 620s",),
    "haproxy": ("timeout client 620s", "timeout server 620s"),
    "caddy": ("read_timeout 620s",),
}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@asynccontextmanager
async def everything(name, tmp_path, authority, *scripts, changes=None, **sections):
    """Claude, a gateway, the proxy."""
    directory = tmp_path / "proxy"
    directory.mkdir()
    async with scripted_upstream(*scripts) as claude:
        config = configuration(tmp_path, claude.url, **sections)
        async with (
            serving(config) as caller,
            proxy(name, directory, authority, caller.gateway.url, changes) as front,
        ):
            yield front, {"Authorization": f"Bearer {caller.key}"}


@asynccontextmanager
async def curl(front, path, *arguments):
    """Ask by HTTP/2."""
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", "--no-buffer", "--http2", "--noproxy", "*", "--cacert", str(front.authority),
        *arguments, front.url + path, stdout=asyncio.subprocess.PIPE, limit=2**20,
    )  # fmt: skip
    try:
        yield process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def headers_for_curl(headers):
    return [text for pair in headers.items() for text in ("--header", ": ".join(pair))]


class Pausing:
    """A Claude that begins its answer, and ends it when told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, peer) -> None:
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await self.go_on.wait()
        await peer.chunk(text_delta("lo") + END)
        await peer.end()


async def test_a_token_goes_out_before_the_next_one_has_come(name, tmp_path, authority):
    claude = Pausing()
    async with (
        everything(name, tmp_path, authority, claude) as (front, headers),
        asyncio.timeout(PATIENCE),
        front.client() as client,
        client.post("/api/chat/stream", json={"message": "Hello"}, headers=headers) as response,
    ):
        assert b'"token":"Hel"' in await response.content.readline()
        claude.go_on.set()
        assert b'"type":"done"' in await response.content.read()


async def test_by_http_2_it_does_too(name, tmp_path, authority):
    claude = Pausing()
    async with (
        everything(name, tmp_path, authority, claude) as (front, headers),
        asyncio.timeout(PATIENCE),
        curl(front, "/api/chat/stream?message=Hi", "--write-out", "%{http_version}", *headers_for_curl(headers)) as out,
    ):
        assert b'"token":"Hel"' in await out.readline()
        claude.go_on.set()
        rest = await out.read()
    assert b'"type":"done"' in rest
    assert rest.endswith(b"2")


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_when_the_client_leaves_claude_is_stopped(name, version, tmp_path, authority):
    left = asyncio.Event()

    async def endless(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await peer.closed()
        left.set()

    async with everything(name, tmp_path, authority, endless) as (front, headers), asyncio.timeout(PATIENCE):
        async with curl(front, "/api/chat/stream?message=Hi", version, *headers_for_curl(headers)) as out:
            await out.readline()
        async with asyncio.timeout(SOON):
            await left.wait()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_a_client_that_leaves_before_the_first_token_stops_claude_as_well(name, version, tmp_path, authority):
    asked, left = asyncio.Event(), asyncio.Event()

    async def silent(peer):
        asked.set()
        await peer.closed()
        left.set()

    async with everything(name, tmp_path, authority, silent) as (front, headers), asyncio.timeout(PATIENCE):
        async with curl(front, "/api/chat/stream?message=Hi", version, *headers_for_curl(headers)):
            await asked.wait()
        async with asyncio.timeout(SOON):
            await left.wait()


async def silence(name, tmp_path, authority, heartbeat, heartbeats):
    """Have Claude pause for so many heartbeats, behind a proxy whose limits are two seconds; return what came."""
    claude, came = Pausing(), b""
    changes = {limit: limit.replace("620s", "2s") for limit in LIMITS[name]}
    server = {"heartbeat": heartbeat}
    async with (
        everything(name, tmp_path, authority, claude, changes=changes, server=server) as (front, headers),
        asyncio.timeout(PATIENCE),
        front.client() as client,
        client.post("/v1/messages", json=MESSAGE, headers=headers) as response,
    ):
        try:
            while line := await response.content.readline():
                came += line
                if came.count(b"\n:") == heartbeats:
                    claude.go_on.set()
        except aiohttp.ClientPayloadError:
            pass
        claude.go_on.set()
    return came


async def test_heartbeats_carry_a_stream_through_a_silence_longer_than_the_proxys_limits(name, tmp_path, authority):
    """Scaled down: a limit of 2 s and 3 s of silence, for 60 s as many proxies have it, and 70 s."""
    assert (await silence(name, tmp_path, authority, 0.25, 12)).endswith(END)


async def test_without_heartbeats_it_would_be_cut(name, tmp_path, authority):
    """What makes the test before a test."""
    came = await silence(name, tmp_path, authority, 60, 1)
    assert b"Hel" in came
    assert b"message_stop" not in came


def test_the_limits_are_above_heartbeats_and_above_the_longest_answer(name):
    found = re.findall(r"(?:read_timeout|timeout client|timeout server) (\S+?);?$", snippet(name), re.MULTILINE)
    assert len(found) == len(LIMITS[name])
    for limit in map(parse_duration, found):
        assert limit >= 4 * ServerSettings().heartbeat
        assert limit > TransportSettings().total_timeout


async def test_a_long_prompt_in_the_query_works_and_is_in_no_log(name, tmp_path, authority):
    path = f"/api/chat/stream?message={quote(PROMPT)}"
    async with everything(name, tmp_path, authority, stream(HELLO)) as (front, headers), asyncio.timeout(PATIENCE):
        async with front.client() as client, client.get(path, headers=headers) as response:
            assert b'"type":"done"' in await response.read()
        async with curl(front, path, *headers_for_curl(headers)) as out:
            assert b'"type":"done"' in await out.read()
    assert not re.search(quote(PROMPT)[:27], front.log, re.IGNORECASE)
    assert headers["Authorization"][-20:] not in front.log


async def test_nor_is_it_when_the_gateway_is_away(name, tmp_path, authority):
    gateway = f"http://127.0.0.1:{refusing_port()}"
    async with (
        proxy(name, tmp_path, authority, gateway) as front,
        front.client() as client,
        client.get("/api/chat/stream?message=whisper", headers={"x-api-key": "tw_mine"}) as response,
    ):
        assert response.status in {502, 503}
    assert "whisper" not in front.log
    assert "tw_mine" not in front.log


async def test_limits_per_address_count_the_clients_address_whatever_it_claims(name, tmp_path, authority):
    limited = {**ANYBODY, "plans": {"default": {"per_address": {"requests_per_minute": 1}}}}
    statuses = []
    async with everything(name, tmp_path, authority, stream(HELLO), **limited) as (front, _):
        for source, claimed in (("127.0.0.2", None), ("127.0.0.3", None), ("127.0.0.2", "192.0.2.7")):
            headers = {"Sec-Fetch-Site": "same-origin"} | ({"X-Forwarded-For": claimed} if claimed else {})
            async with (
                front.client(source) as client,
                client.post("/api/chat/stream", json={"message": "Hello"}, headers=headers) as response,
            ):
                statuses.append(response.status)
    assert statuses == [200, 200, 429]


async def fine(peer):
    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


async def breaks(peer):
    peer.writer.close()


async def test_no_proxy_asks_twice(name, tmp_path, authority):
    """Not even with a GET on a kept connection that breaks: the gateway may have asked Claude by then."""
    async with (
        scripted_upstream(fine, fine, breaks, fine) as gateway,
        proxy(name, tmp_path, authority, gateway.url) as front,
        asyncio.timeout(PATIENCE),
    ):
        reader, writer = await asyncio.open_connection("localhost", URL(front.url).port, ssl=front.context)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.transport.abort()
    assert [request.line.split()[1] for request in gateway.requests] == ["/health", "/health", "/chat"]


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("name", ["nginx", "caddy"])
async def test_nor_is_a_client_made_to(name, version, tmp_path, authority):
    """A connection that ends without an answer has browsers, and curl, ask a GET again. HAProxy cannot be told better."""
    async with (
        scripted_upstream(fine, fine, breaks, fine) as gateway,
        proxy(name, tmp_path, authority, gateway.url) as front,
        curl(front, "/chat", version, "--write-out", "\n%{http_code}\n", f"{front.url}/health") as out,
        asyncio.timeout(PATIENCE),
    ):
        said = (await out.read()).decode().splitlines()
    assert [line for line in said if line.isdigit()] == ["200", "502"]
    assert [request.line.split()[1] for request in gateway.requests] == ["/health", "/health", "/chat"]


async def test_a_body_of_30_megabytes_goes_through(name, tmp_path, authority):
    body = {**MESSAGE, "messages": [{"role": "user", "content": "x" * 30_000_000}]}
    content = io.BytesIO(json.dumps(body).encode())
    async with (
        everything(name, tmp_path, authority, stream(HELLO)) as (front, headers),
        front.client() as client,
        client.post("/v1/messages", data=content, headers=headers) as response,
    ):
        assert response.status == 200
        assert (await response.read()).endswith(END)


async def test_the_deployed_frontend_works_on_the_same_origin(name, tmp_path, authority):
    """Its GET has no credentials and no Origin; the browser comes by HTTP/2. The page's files are the frontend's own."""
    async with (
        everything(name, tmp_path, authority, stream(HELLO), **ANYBODY) as (front, _),
        chromium() as browser,
        await browser.new_context(ignore_https_errors=True) as context,
    ):
        page = await context.new_page()
        await page.route(f"{front.url}/index.html", lambda route: route.fulfill(path=FRONTEND / "page.html"))
        await page.route(f"{front.url}/client.mjs", lambda route: route.fulfill(path=FRONTEND / "client.mjs"))
        await page.goto(f"{front.url}/index.html")
        await page.wait_for_function("window.chat")
        answer = await page.evaluate("(given) => window.chat(...given)", ["", "Hello", None])
        protocols = await (await page.wait_for_function(PROTOCOLS)).json_value()
    assert answer["text"] == "Hello"
    assert [frame["type"] for frame in answer["seen"]] == ["text", "text", "done"]
    assert protocols == ["h2"]
