"""The operators' endpoints, and that they and the public ones keep to their own addresses."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import aiohttp
import pytest

from gateway.app import running
from gateway.database.opening import open_database
from tests.support.gateway import configuration, serving
from tests.support.observed import Outcomes
from tests.support.scripted_upstream import BLOCK, END, SSE_HEAD, START, scripted_upstream, text_delta

CHAT = "/api/chat/stream"
FAMILIES = (
    "tokenweir_requests_total",
    "tokenweir_request_duration_seconds_bucket",
    "tokenweir_time_to_first_token_seconds_bucket",
    "tokenweir_tokens_total",
    "tokenweir_streams_active 0.0",
    "tokenweir_event_loop_lag_seconds_bucket",
    "tokenweir_build_info",
)


async def _get(caller, path, **headers):
    async with caller.session.get(caller.gateway.ops_url + path, headers=headers) as response:
        return response.status, response.headers, await response.text()


async def _until_unready(caller):
    async with asyncio.timeout(10):
        while True:
            async with caller.session.get(caller.gateway.ops_url + "/readyz") as response:
                if response.status == 503:
                    return await response.json()


async def test_livez_says_that_the_loop_turns_also_while_draining(tmp_path):
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url)) as caller:
        assert (await _get(caller, "/livez"))[0] == 200
        caller.gateway.services.streams.draining = True
        assert (await _get(caller, "/livez"))[0] == 200


async def test_readyz_asks_every_dependency(tmp_path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1")) as caller:
        status, headers, text = await _get(caller, "/readyz")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert json.loads(text) == {"status": "ok", "checks": {"keys": "ok", "limits": "ok"}, "in_flight": 0}


async def test_readyz_is_503_while_draining(tmp_path):
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url)) as caller:
        caller.gateway.services.streams.draining = True
        assert (await _until_unready(caller))["checks"] == {"keys": "ok", "limits": "ok", "drain": "draining"}


async def test_a_database_that_breaks_is_said_and_known_keys_go_on(tmp_path):
    async with scripted_upstream() as claude:
        config = configuration(tmp_path, claude.url, keys={"refresh": "20ms"})
        async with serving(config) as caller:
            async with caller.post(CHAT, {"message": "hi"}) as response:
                assert response.status == 200
            (tmp_path / "tokenweir.db").unlink()
            said = await _until_unready(caller)
            assert said["status"] == "unavailable"
            assert "database" in said["checks"]["keys"]
            async with caller.post(CHAT, {"message": "hi"}) as response:
                assert response.status == 200


async def test_a_database_that_cannot_be_read_at_the_start_is_said(tmp_path):
    """It starts, because it may come back, and is not ready until then."""
    config = configuration(tmp_path, "http://127.0.0.1:1")
    open_database(config.database_url).dispose()
    with sqlite3.connect(tmp_path / "tokenweir.db") as connection:
        connection.execute("ALTER TABLE revision RENAME TO away")
    connection.close()
    async with (
        running(config, Outcomes()) as gateway,
        aiohttp.ClientSession() as session,
        session.get(gateway.ops_url + "/readyz") as response,
    ):
        assert response.status == 503
        assert "no such table: revision" in (await response.json())["checks"]["keys"]


async def test_metrics_show_what_a_stream_left(tmp_path):
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url)) as caller:
        async with caller.post(CHAT, {"message": "hi"}) as response:
            await response.read()
        status, headers, text = await _get(caller, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    for family in FAMILIES:
        assert family in text
    assert 'tokenweir_requests_total{kind="done",method="POST",route="/api/chat/stream",status_class="2xx"} 1.0' in text


async def test_metrics_come_as_openmetrics_to_who_asks_for_it(tmp_path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1")) as caller:
        _, headers, text = await _get(caller, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_metrics_are_rendered_while_streams_run(tmp_path):
    finish = asyncio.Event()

    async def slow(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await finish.wait()
        await peer.chunk(END)
        await peer.end()

    async with scripted_upstream(slow) as claude, serving(configuration(tmp_path, claude.url)) as caller:
        async with caller.post(CHAT, {"message": "hi"}) as response:
            await response.content.readuntil(b"Hel")
            _, _, text = await _get(caller, "/metrics")
            assert "tokenweir_streams_active 1.0" in text
            async with caller.session.get(caller.gateway.ops_url + "/readyz") as ready:
                assert (await ready.json())["in_flight"] == 1
            finish.set()
            await response.read()
        _, _, text = await _get(caller, "/metrics")
    assert "tokenweir_streams_active 0.0" in text


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
async def test_the_public_address_does_not_serve_the_operators(tmp_path, path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1")) as caller, caller.get(path) as response:
        assert response.status == 404


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/api/chat/stream?message=hi", "/"])
async def test_the_operators_address_does_not_serve_the_public(tmp_path, path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1")) as caller:
        status, headers, text = await _get(caller, path)
    assert status == 404
    told = json.loads(text)
    assert told["error"] == "Not found. Served here: GET /livez, /readyz, /metrics, /quotas/{tenant}, /reconcile and /openapi.json."
    assert (told["code"], told["requestId"]) == ("not_found", headers["X-Request-Id"])
    assert "message=" not in text


async def test_the_operators_address_names_the_methods_that_a_path_takes(tmp_path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1")) as caller:
        async with caller.session.post(caller.gateway.ops_url + "/metrics") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
            assert (await response.json())["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/nowhere"])
async def test_every_answer_of_the_operators_address_names_the_product_and_no_version(tmp_path, path):
    async with serving(configuration(tmp_path, "http://127.0.0.1:1")) as caller:
        _, headers, _ = await _get(caller, path)
    assert headers["Server"] == "tokenweir"
