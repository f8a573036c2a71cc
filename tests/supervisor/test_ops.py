"""The operators' endpoints of several workers, asked over a socket; the workers behind them are made up."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager

import aiohttp
import pytest

from gateway.supervisor.ops import Ops
from gateway.supervisor.sockets import address_of, bound
from tests.support.raw_client import connected, request_bytes
from tests.support.supervision import SERVES, supervised


@asynccontextmanager
async def operated(directory, does=SERVES, **given):
    """Serve for a group that is not started."""
    async with supervised(directory, does, **given) as supervision:
        ops = Ops(supervision.group, lambda error: pytest.fail(repr(error)))
        sock = bound([2, "127.0.0.1", 0], "", "")
        await ops.serve(sock)
        try:
            yield supervision, f"http://{address_of(sock.getsockname())}"
        finally:
            await ops.close()


async def test_before_there_is_a_worker_it_is_alive_and_not_ready(tmp_path):
    async with operated(tmp_path) as (_, url), aiohttp.ClientSession() as http:
        async with http.get(f"{url}/livez") as alive:
            assert (alive.status, await alive.json()) == (200, {"status": "ok"})
        async with http.get(f"{url}/readyz") as ready:
            assert ready.status == 503
            assert ready.headers["Cache-Control"] == "no-store"
            assert (await ready.json())["checks"] == {"workers": "none is ready"}


async def test_with_workers_it_is_ready_and_tells_what_is_in_flight(tmp_path):
    async with operated(tmp_path) as (supervision, url), aiohttp.ClientSession() as http:
        await supervision.group.start()
        async with http.get(f"{url}/readyz") as ready:
            assert ready.status == 200
            body = await ready.json()
        assert body == {"status": "ok", "checks": {"workers": "ok", "keys": "ok"}, "in_flight": 4}


async def test_one_worker_that_is_unwell_is_too_much(tmp_path):
    unwell = SERVES.replace("obey()", "") + (
        'for order in orders():\n    say("status", checks={"keys": "gone" if os.getpid() % 2 else "gone"}, in_flight=0)'
    )
    async with operated(tmp_path, unwell) as (supervision, url), aiohttp.ClientSession() as http:
        await supervision.group.start()
        async with http.get(f"{url}/readyz") as ready:
            assert ready.status == 503
            assert (await ready.json())["checks"] == {"workers": "ok", "keys": "gone"}


async def test_metrics_are_there_without_workers_and_in_the_format_that_is_asked_for(tmp_path):
    async with operated(tmp_path) as (supervision, url), aiohttp.ClientSession() as http:
        supervision.group._counts.reload("done")
        async with http.get(f"{url}/metrics") as plain:
            assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert 'tokenweir_reloads_total{result="done"} 1.0' in await plain.text()
        accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
        async with http.get(f"{url}/metrics", headers=accept) as openmetrics:
            assert (await openmetrics.text()).endswith("# EOF\n")


async def test_what_is_not_served_and_what_is_not_allowed_are_said(tmp_path):
    async with operated(tmp_path) as (_, url), aiohttp.ClientSession() as http:
        async with http.get(f"{url}/nothing") as missing:
            assert missing.status == 404
            assert (await missing.json())["code"] == "not_found"
            assert missing.headers["X-Request-Id"]
        async with http.put(f"{url}/livez") as refused:
            assert (refused.status, refused.headers["Allow"]) == (405, "GET,HEAD")
            assert (await refused.json())["code"] == "method_not_allowed"
        async with http.head(f"{url}/openapi.json?x=1") as head:
            assert (head.status, await head.read()) == (200, b"")
            assert head.headers["Content-Length"] == "19"
        async with http.get(f"{url}/openapi.json") as document:
            assert await document.json() == {"openapi": "3.1.0"}


@pytest.mark.parametrize(
    "request_", [b"nonsense\r\n\r\n", b"GET / HTTP/2\r\n\r\n", request_bytes("POST", "/livez", body=b"{}"),
                 request_bytes("GET", "/livez", "Transfer-Encoding: chunked")]
)  # fmt: skip
async def test_what_is_no_request_without_a_body_is_a_400_and_the_end(tmp_path, request_):
    async with operated(tmp_path) as (_, url), connected(url, request_) as wire:
        answer = await wire.rest()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close" in answer


async def test_connections_are_kept_and_ended_as_the_client_says(tmp_path):
    async with operated(tmp_path) as (_, url):
        async with connected(url) as kept:
            for _ in range(2):
                await kept.send(request_bytes("GET", "/livez"))
                assert (await kept.answer())[0] == 200
            await kept.send(request_bytes("GET", "/livez", "Connection: close"))
            assert (await kept.rest()).endswith(b'{"status":"ok"}')
        async with connected(url, b"GET /livez HTTP/1.0\r\n\r\n") as old:
            assert (await old.rest()).endswith(b'{"status":"ok"}')


async def test_a_client_that_leaves_or_says_nothing_or_too_much_is_no_error(tmp_path):
    async with operated(tmp_path, keepalive_timeout=0.05) as (_, url):
        async with connected(url, b"GET /livez HT") as silent:
            assert await silent.rest() == b""
        async with connected(url, b"x" * 100_000) as endless:
            with contextlib.suppress(ConnectionResetError):  # or an end in order: the kernel decides
                assert await endless.rest() == b""
        async with connected(url) as leaving:
            leaving.reset()


async def test_one_connection_too_many_is_closed(tmp_path):
    async with operated(tmp_path) as (_, url):
        open_ = [await asyncio.open_connection(*url.removeprefix("http://").split(":")) for _ in range(64)]
        for reader, writer in open_:
            writer.write(request_bytes("GET", "/livez"))
            await reader.readuntil(b"}")
        async with connected(url, request_bytes("GET", "/livez")) as one_more:
            with contextlib.suppress(ConnectionResetError):
                assert await one_more.rest() == b""
        for _, writer in open_:
            writer.close()
