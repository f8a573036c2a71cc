"""A serving process and its signals."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from tests.support.process import ROOT, command, process, serving
from tests.support.raw_client import connected, request_bytes
from tests.support.streaming import AT_ONCE, KEY, begin, chat, claudes_own, rest, streaming_gateway


async def refused(url: str) -> None:
    """Wait until the port is closed."""
    async with asyncio.timeout(15):
        while await _served(url):
            pass


async def _served(url: str) -> bool:
    try:
        async with connected(url) as wire:
            await wire.send(request_bytes("GET", "/health"))
            await wire.answer()
    except ConnectionRefusedError:
        return False
    except (ConnectionResetError, asyncio.IncompleteReadError):
        pass
    return True


async def test_ctrl_c_while_idle_ends_at_once_with_0(tmp_path):
    async with serving(tmp_path, "serve", **KEY) as gateway:
        gateway.signal(signal.SIGINT)
        ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")
    (draining,) = [line for line in ended.log if line["event"] == "draining"]
    assert draining["delay"] == 0


async def test_sigterm_while_idle_ends_with_0(tmp_path):
    async with serving(tmp_path, "serve", **AT_ONCE) as gateway:
        gateway.signal(signal.SIGTERM)
        ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (["serve"], signal.SIGTERM, 0),
        (["demo"], signal.SIGTERM, 0),
        (["simulate"], signal.SIGTERM, 0),
        (["serve"], signal.SIGINT, 130),
        (["tenants", "list"], signal.SIGTERM, -signal.SIGTERM),
    ],
)
async def test_a_signal_before_all_is_imported_ends_what_serves_in_silence(tmp_path, arguments, number, code):
    """A command that was to change or show something has not done it, and says so by its code."""
    (tmp_path / "pydantic.py").write_text(
        "import time\nprint('importing', flush=True)\nwhile True:\n    time.sleep(0.01)\n"
    )
    async with process(tmp_path, *arguments, PYTHONPATH=f"{tmp_path}:{ROOT}") as run:
        await run.until("importing")
        run.signal(number)
        ended = await run.end()
    assert (ended.code, ended.out, ended.err) == (code, "importing\n", "")


async def test_a_signal_during_the_start_is_obeyed_after_it(tmp_path):
    """The worst moment: between the first line of the program and the last of the start."""
    async with process(tmp_path, "serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", **AT_ONCE) as run:
        await asyncio.to_thread(_wait_for, tmp_path / "data")
        run.signal(signal.SIGTERM)
        ended = await run.end()
    assert (ended.code, ended.err) == (0, "")


def _wait_for(path) -> None:
    while not path.exists():
        pass


async def test_after_sigterm_it_is_unready_serves_on_and_then_finishes_what_is_in_flight(tmp_path):
    """The whole drain: 503 for the load balancer, new requests until the delay is over, then the last streams."""
    async with (
        streaming_gateway(tmp_path, TOKENWEIR_SERVER__DRAIN_DELAY="3s") as (gateway, http, headers, slow),
        chat(gateway, http, headers) as running,
    ):
        first = await begin(running)
        gateway.signal(signal.SIGTERM)
        await gateway.until('"draining"')
        async with http.get(f"{gateway.ops_url}/readyz") as ready:
            assert ready.status == 503
            assert (await ready.json())["checks"]["drain"] == "draining"
        async with http.get(f"{gateway.url}/health") as health:
            assert health.status == 200
            assert health.headers["Connection"] == "close"
        async with chat(gateway, http, headers) as late:
            assert late.headers["Connection"] == "close"
            await begin(late)
            await refused(gateway.url)
            slow.finish.set()
            assert b'"type":"done"' in await rest(late)
        assert b'"type":"done"' in first + await rest(running)
        ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")
    assert [line["kind"] for line in ended.log if line.get("dialect") == "chat"] == ["done", "done"]


async def test_what_is_left_at_the_end_of_the_grace_period_is_told_that_a_retry_helps(tmp_path):
    variables = {"TOKENWEIR_SERVER__DRAIN_DELAY": "0", "TOKENWEIR_SERVER__DRAIN_GRACE": "200ms"}
    async with (
        streaming_gateway(tmp_path, **variables) as (gateway, http, headers, _),
        chat(gateway, http, headers) as frames,
        claudes_own(gateway, http, headers) as events,
    ):
        await begin(frames)
        await begin(events)
        gateway.signal(signal.SIGTERM)
        last_frame = json.loads((await rest(frames)).decode().strip().removeprefix("data: "))
        last_event = (await rest(events)).decode()
        ended = await gateway.end()
    assert last_frame["type"] == "error"
    assert last_frame["metadata"]["code"] == "draining"
    assert last_frame["metadata"]["retryable"] is True
    assert last_frame["metadata"]["retryAfterMs"] == 1000
    assert last_event.startswith("event: error\ndata: ")
    assert json.loads(last_event.split("data: ")[1])["error"]["type"] == "overloaded_error"
    assert (ended.code, ended.err) == (0, "")
    assert [line["error"] for line in ended.log if line.get("kind") == "error"] == ["draining", "draining"]
    assert [line["streams"] for line in ended.log if line["event"] == "cut at the end of the grace period"] == [2]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_during_a_drain_stops_at_once(tmp_path, first):
    """The grace period would be two minutes; what is in flight is told, and the exit is an orderly one."""
    async with (
        streaming_gateway(tmp_path) as (gateway, http, headers, _),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        gateway.signal(first)
        await gateway.until('"draining"')
        gateway.signal(signal.SIGINT)
        async with asyncio.timeout(10):
            assert b'"code":"draining"' in await rest(running)
            ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")


async def test_sigterm_again_changes_nothing(tmp_path):
    """Supervisors send it to the process and to its group."""
    async with (
        streaming_gateway(tmp_path, TOKENWEIR_SERVER__DRAIN_DELAY="0") as (gateway, http, headers, slow),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        gateway.signal(signal.SIGTERM)
        await gateway.until('"draining"')
        gateway.signal(signal.SIGTERM)
        await refused(gateway.url)
        slow.finish.set()
        assert b'"type":"done"' in await rest(running)
        ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")


async def test_an_idle_connection_is_closed_with_the_port(tmp_path):
    """Not kept open and deaf: a proxy would send its next request there."""
    async with (
        streaming_gateway(tmp_path, TOKENWEIR_SERVER__DRAIN_DELAY="0") as (gateway, http, headers, slow),
        chat(gateway, http, headers) as running,
        connected(gateway.url) as idle,
    ):
        await begin(running)
        await idle.send(request_bytes("GET", "/health"))
        assert (await idle.answer())[0] == 200
        gateway.signal(signal.SIGTERM)
        assert await idle.rest() == b""
        slow.finish.set()
        assert b'"type":"done"' in await rest(running)
        assert (await gateway.end()).code == 0


async def test_a_body_that_is_still_on_its_way_when_the_port_closes_is_waited_for(tmp_path):
    variables = {"TOKENWEIR_SERVER__DRAIN_DELAY": "0"}
    async with streaming_gateway(tmp_path, **variables) as (gateway, http, headers, slow):
        slow.finish.set()
        body = b'{"message": "hi"}'
        head = request_bytes("POST", "/api/chat/stream", f"x-api-key: {headers['x-api-key']}", body=body)
        async with connected(gateway.url) as wire:
            await wire.send(head[:-5])
            async with http.get(f"{gateway.ops_url}/readyz") as ready:
                assert (await ready.json())["in_flight"] == 1
            gateway.signal(signal.SIGTERM)
            await refused(gateway.url)
            await wire.send(head[-5:])
            assert b'"type":"done"' in await wire.until(b'"type":"done"')
        assert (await gateway.end()).code == 0


@pytest.mark.parametrize(
    "change", [("tenants", "suspend", "acme", "--cut-streams"), ("keys", "revoke", "KEY", "--cut-streams")]
)
async def test_cut_streams_ends_running_answers_within_five_seconds(tmp_path, change):
    async with (
        streaming_gateway(tmp_path) as (gateway, http, headers, _),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        key = headers["x-api-key"]
        assert (await command(tmp_path, *[key if word == "KEY" else word for word in change])).code == 0
        async with asyncio.timeout(5):
            last = json.loads((await rest(running)).decode().strip().removeprefix("data: "))
        assert (last["type"], last["metadata"]["code"]) == ("error", "access_cut")
        async with chat(gateway, http, headers) as refused:
            assert refused.status in {401, 403}


async def test_suspending_without_cut_streams_lets_running_answers_finish(tmp_path):
    async with (
        streaming_gateway(tmp_path) as (gateway, http, headers, slow),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        assert (await command(tmp_path, "tenants", "suspend", "acme")).code == 0
        async with asyncio.timeout(5):
            while True:
                async with chat(gateway, http, headers) as refused:
                    if refused.status == 403:
                        break
                    refused.close()
        slow.finish.set()
        assert b'"type":"done"' in await rest(running)
