"""``--workers N``: several processes that are one gateway, whatever happens to them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.observed import eventually
from tests.support.process import PATIENCE, command, make_key, on_a_terminal, process
from tests.support.raw_client import connected, request_bytes
from tests.support.streaming import KEY, begin, chat, health, rest, streaming_gateway
from tests.support.workers import alive, children, files, kill, scraped, server_socket, sockets, total

TWO = ("--workers", "2")
LIMIT = "[plans.default]\nrequests_per_minute = {}\n[limits]\nper_worker = {}\n"
DONE = b'"type":"done"'


@asynccontextmanager
async def two_workers(directory, *arguments, **variables):
    async with streaming_gateway(
        directory, *TWO, *arguments, **{"TOKENWEIR_SERVER__DRAIN_DELAY": "0", **variables}
    ) as all_of_it:
        yield all_of_it


def workers(gateway) -> set[int]:
    return set(children(gateway.process.pid))


async def ready(http, gateway) -> tuple[int, dict]:
    async with http.get(f"{gateway.ops_url}/readyz") as answer:
        return answer.status, await answer.json()


async def stream_on(stack, gateway, http, headers, worker):
    """Begin streams until one is the worker's; return it."""
    port = int(gateway.url.rpartition(":")[2])
    while True:
        response = await stack.enter_async_context(chat(gateway, http, headers))
        client = response.connection.transport.get_extra_info("sockname")
        if server_socket(client, port) in sockets(worker):
            await begin(response)
            return response


async def test_several_workers_are_one_gateway(tmp_path):
    async with two_workers(tmp_path) as (gateway, http, headers, slow):
        assert "with 2 workers" in gateway.said
        assert len(workers(gateway)) == 2
        async with http.get(f"{gateway.ops_url}/livez") as alive_:
            assert (alive_.status, await alive_.json()) == (200, {"status": "ok"})
        async with chat(gateway, http, headers) as running:
            await begin(running)
            status, body = await ready(http, gateway)
            assert (status, body["checks"], body["in_flight"]) == (
                200,
                {"workers": "ok", "keys": "ok", "limits": "ok"},
                1,
            )
            slow.finish.set()
            assert DONE in await rest(running)
        gateway.signal(signal.SIGTERM)
        ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")


async def test_the_connections_are_spread_over_the_workers(tmp_path):
    async with two_workers(tmp_path) as (gateway, *_), AsyncExitStack() as stack:
        before = {worker: len(sockets(worker)) for worker in workers(gateway)}
        for _ in range(200):
            wire = await stack.enter_async_context(connected(gateway.url))
            await wire.send(request_bytes("GET", "/health"))
            assert (await wire.answer())[0] == 200
        shares = [len(sockets(worker)) - count for worker, count in before.items()]
    assert sum(shares) == 200
    assert all(70 <= share <= 130 for share in shares), shares


async def test_a_worker_that_is_killed_takes_its_own_streams_with_it_and_nothing_else(tmp_path):
    """No other stream, no count of what it did, no connection that comes while there is one worker less."""
    async with two_workers(tmp_path) as (gateway, http, headers, slow), AsyncExitStack() as stack:
        first, second = workers(gateway)
        dying = await stream_on(stack, gateway, http, headers, first)
        living = await stream_on(stack, gateway, http, headers, second)
        for _ in range(10):
            assert await health(gateway.url) == 200
        before = await scraped(http, gateway.ops_url)
        kill(first)
        with pytest.raises(aiohttp.ClientPayloadError):
            await rest(dying)
        for _ in range(10):
            assert await health(gateway.url) == 200
        said = await gateway.until("a worker was replaced")
        after = await scraped(http, gateway.ops_url)
        died = next(json.loads(line) for line in said.splitlines() if "a worker died" in line)
        assert (died["worker"], died["ended_with"]) == (first, "SIGKILL")
        assert total(before, "tokenweir_requests_total", 'route="/health"') == 10
        assert total(after, "tokenweir_requests_total", 'route="/health"') == 20
        assert after["tokenweir_worker_deaths_total"] == 1
        assert after["tokenweir_workers"] == 2
        for name, value in before.items():
            if name.partition("{")[0].endswith(("_total", "_count", "_bucket")):
                assert after[name] >= value, name
        assert second in workers(gateway)
        assert len(workers(gateway)) == 2
        assert set(children(gateway.process.pid).values()) <= {"S", "R"}
        # The streams that the dead one had are none any more; how many others there are is known exactly.
        slow.finish.set()
        assert DONE in await rest(living)
        await eventually_metric(http, gateway, "tokenweir_streams_active", 0)


async def eventually_metric(http, gateway, name, value) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await scraped(http, gateway.ops_url))[name] != value:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)


async def test_sighup_exchanges_the_configuration_and_the_workers_and_loses_no_stream(tmp_path):
    (tmp_path / "c.toml").write_text('[chat]\nmodel = "claude-old"\n')
    async with (
        two_workers(tmp_path, "--config", "c.toml") as (gateway, http, headers, slow),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        old = workers(gateway)
        (tmp_path / "c.toml").write_text('[chat]\nmodel = "claude-new"\n')
        await gateway.reload()
        async with chat(gateway, http, headers) as later:
            await begin(later)
            status, body = await ready(http, gateway)
            assert (status, body["in_flight"]) == (200, 2)
            slow.finish.set()
            assert DONE in await rest(running)
            assert DONE in await rest(later)
        assert slow.models == ["claude-old", "claude-new"]
        await eventually(lambda: len(workers(gateway)) == 2, PATIENCE)
        assert not old & workers(gateway)
        series = await scraped(http, gateway.ops_url)
        assert total(series, "tokenweir_requests_total", 'route="/api/chat/stream"') == 2
        assert series['tokenweir_reloads_total{result="done"}'] == 1
        assert series["tokenweir_worker_deaths_total"] == 0


async def test_connections_that_come_during_a_reload_are_all_served(tmp_path):
    """New ones all the time, and kept ones that bring another request."""
    (tmp_path / "c.toml").write_text("")
    async with two_workers(tmp_path, "--config", "c.toml") as (gateway, _, _, _):
        over = asyncio.Event()
        served: list[int] = []

        async def keep_coming(*, keep: bool) -> None:
            while not over.is_set():
                served.append(await health(gateway.url, keep=keep))
                await asyncio.sleep(0.01)  # what reloads needs the processor as well

        async with asyncio.TaskGroup() as group:
            for keep in (True, False, True, False):
                group.create_task(keep_coming(keep=keep))
            old = workers(gateway)
            await gateway.reload()
            await eventually(lambda: not old & workers(gateway), PATIENCE)
            over.set()
    assert set(served) == {200}
    assert len(served) > 8


def test_a_terminal_has_lines_for_people_also_after_a_reload(tmp_path):
    """Who reads the configuration anew has no terminal."""
    with on_a_terminal(tmp_path, "serve", *TWO, **KEY, TOKENWEIR_SERVER__DRAIN_DELAY="0") as terminal:
        terminal.until(b"serves on")
        terminal.process.send_signal(signal.SIGHUP)
        assert b"] configuration reloaded" in terminal.until(b"configuration reloaded")


async def test_reloads_leave_nothing_behind(tmp_path):
    (tmp_path / "c.toml").write_text("")
    async with two_workers(tmp_path, "--config", "c.toml") as (gateway, http, _, _):
        await scraped(http, gateway.ops_url)
        supervisor = gateway.process.pid
        before = files(supervisor)
        for _ in range(2):
            old = workers(gateway)
            await gateway.reload()
            await eventually(lambda old=old: not old & workers(gateway), PATIENCE)
        await eventually(lambda: files(supervisor) <= before, PATIENCE)
        assert len(children(supervisor)) == 2


async def test_a_configuration_that_is_wrong_is_refused_and_the_old_one_stays(tmp_path):
    (tmp_path / "c.toml").write_text("")
    async with (
        two_workers(tmp_path, "--config", "c.toml") as (gateway, http, headers, slow),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        before = workers(gateway)
        for text, reason in (
            ('[server]\nheartbeat = "soon"\n', "server.heartbeat"),
            ("[chat]\nmodel = 3\nmax_tokens = 0\n", "allowed: a text; chat.max_tokens = 0 (c.toml): allowed: "),
            ("[plans.default]\nrequests_per_minute = 60\n", "limits.per_worker"),
            ('redis_url = "http://x"\n', "redis_url names no Redis"),
            ("no toml", "c.toml"),
        ):
            (tmp_path / "c.toml").write_text(text)
            assert reason in await gateway.refused_reload()
        assert workers(gateway) == before
        slow.finish.set()
        assert DONE in await rest(running)
        async with chat(gateway, http, headers) as later:
            assert DONE in await rest(later)
        series = await scraped(http, gateway.ops_url)
        assert series['tokenweir_reloads_total{result="refused"}'] == 5
        # A worker that dies now is replaced with the configuration that was accepted, not with what is in the file.
        kill(min(before))
        await gateway.until("a worker was replaced")


async def test_an_address_cannot_change_while_running(tmp_path):
    (tmp_path / "c.toml").write_text('[server]\nlisten = "127.0.0.1:0"\nops_listen = "127.0.0.1:0"\n')
    async with process(tmp_path, "serve", *TWO, "--config", "c.toml", **KEY) as gateway:
        await gateway.until("serves on")
        (tmp_path / "c.toml").write_text('[server]\nlisten = "127.0.0.1:1"\nops_listen = "127.0.0.1:0"\n')
        reason = await gateway.refused_reload()
    assert reason == "server.listen was 127.0.0.1:0 and is 127.0.0.1:1: that takes a restart"


async def test_the_number_of_workers_is_what_the_configuration_says_now(tmp_path):
    (tmp_path / "c.toml").write_text("[server]\nworkers = 2\n")
    async with streaming_gateway(tmp_path, "--config", "c.toml", TOKENWEIR_SERVER__DRAIN_DELAY="0") as (gateway, *_):
        assert len(workers(gateway)) == 2
        for count in (3, 1):
            (tmp_path / "c.toml").write_text(f"[server]\nworkers = {count}\n")
            await gateway.reload()
            await eventually(lambda count=count: len(workers(gateway)) == count, PATIENCE)
            for _ in range(20):  # also where a socket is more than there are workers
                assert await health(gateway.url) == 200


async def test_sigterm_while_a_reload_starts_workers_ends_in_order(tmp_path):
    async with (
        two_workers(tmp_path) as (gateway, http, headers, slow),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        started = workers(gateway)
        gateway.signal(signal.SIGHUP)
        await eventually(
            lambda: workers(gateway) > started, PATIENCE
        )  # reading the configuration, or already new workers
        gateway.signal(signal.SIGTERM)
        await gateway.until('"draining"')
        slow.finish.set()
        assert DONE in await rest(running)
        ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")


async def test_sigterm_while_the_old_generation_finishes_waits_for_both(tmp_path):
    async with (
        two_workers(tmp_path) as (gateway, http, headers, slow),
        chat(gateway, http, headers) as old,
    ):
        await begin(old)
        await gateway.reload()
        async with chat(gateway, http, headers) as new:
            await begin(new)
            processes = workers(gateway)
            gateway.signal(signal.SIGTERM)
            await gateway.until('"draining"')
            assert (await ready(http, gateway))[0] == 503
            slow.finish.set()
            assert DONE in await rest(old)
            assert DONE in await rest(new)
        ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")
    assert not any(alive(pid) for pid in processes)


async def test_ctrl_c_during_a_drain_stops_at_once(tmp_path):
    async with two_workers(tmp_path) as (gateway, http, headers, _), chat(gateway, http, headers) as running:
        await begin(running)
        gateway.signal(signal.SIGINT)
        await gateway.until('"draining"')
        gateway.signal(signal.SIGINT)
        assert b'"code":"draining"' in await rest(running)
        ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")


async def test_what_is_left_at_the_end_of_the_grace_period_is_told_that_a_retry_helps(tmp_path):
    async with (
        two_workers(tmp_path, TOKENWEIR_SERVER__DRAIN_GRACE="200ms") as (gateway, http, headers, _),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        gateway.signal(signal.SIGTERM)
        frame = json.loads((await rest(running)).decode().strip().removeprefix("data: "))
        ended = await gateway.end()
    assert (frame["type"], frame["metadata"]["code"], frame["metadata"]["retryable"]) == ("error", "draining", True)
    assert (ended.code, ended.err) == (0, "")


async def test_workers_without_a_supervisor_finish_what_they_have_and_end(tmp_path):
    async with (
        two_workers(tmp_path) as (gateway, http, headers, slow),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        orphans = workers(gateway)
        kill(gateway.process.pid)
        slow.finish.set()
        assert DONE in await rest(running)
        await eventually(lambda: not any(alive(pid) for pid in orphans), PATIENCE)


async def test_a_worker_that_is_told_to_end_is_replaced_and_finishes_what_it_has(tmp_path):
    async with two_workers(tmp_path) as (gateway, http, headers, slow), AsyncExitStack() as stack:
        first, second = workers(gateway)
        running = await stream_on(stack, gateway, http, headers, first)
        kill(first, signal.SIGTERM)
        await gateway.until("a worker was replaced")
        for _ in range(10):
            assert await health(gateway.url) == 200
        slow.finish.set()
        assert DONE in await rest(running)
        await eventually(lambda: not alive(first), PATIENCE)
        assert second in workers(gateway)
        assert (await scraped(http, gateway.ops_url))["tokenweir_worker_deaths_total"] == 0


async def test_a_worker_that_hangs_is_seen_and_replaced(tmp_path):
    async with two_workers(tmp_path, TOKENWEIR_SERVER__WORKER_TIMEOUT="2s") as (gateway, http, _, _):
        first = min(workers(gateway))
        kill(first, signal.SIGSTOP)
        status, body = await ready(http, gateway)
        assert status == 503
        assert "does not answer" in body["checks"]["workers"]
        await gateway.until("a worker does not answer, and is killed")
        await gateway.until("a worker was replaced")
        assert (await ready(http, gateway))[0] == 200


async def test_each_worker_enforces_its_share_of_a_limit(tmp_path):
    (tmp_path / "c.toml").write_text(LIMIT.format(6, "true"))
    async with two_workers(tmp_path, "--config", "c.toml") as (gateway, http, headers, slow):
        slow.finish.set()
        statuses = []
        for _ in range(40):
            async with chat(gateway, http, headers | {"Connection": "close"}) as answer:
                await answer.read()
                statuses.append(answer.status)
                if answer.status == 200:
                    assert answer.headers["RateLimit-Policy"] == '"tenant-requests-per-minute";q=3;w=60'
    assert statuses.count(200) == 6
    assert statuses.count(429) == 34


async def test_a_revoked_key_stops_on_every_worker(tmp_path):
    async with two_workers(tmp_path) as (gateway, http, headers, slow):
        slow.finish.set()

        async def statuses() -> set[int]:
            found = set()
            for _ in range(8):
                async with chat(gateway, http, headers | {"Connection": "close"}) as answer:
                    await answer.read()
                    found.add(answer.status)
            return found

        assert await statuses() == {200}
        assert (await command(tmp_path, "keys", "revoke", headers["x-api-key"])).code == 0
        async with asyncio.timeout(PATIENCE):
            while 200 in await statuses():  # 401, and 429 when there were too many of them
                pass


async def test_a_taken_port_is_one_line_also_beside_another_gateway_with_workers(tmp_path):
    """Their sockets can be shared, but not by accident."""
    async with two_workers(tmp_path) as (gateway, *_):
        address = gateway.url.removeprefix("http://")
        for option in ("--listen", "--ops-listen"):
            taken = {"--listen": address, "--ops-listen": gateway.ops_url.removeprefix("http://")}[option]
            other = {"--listen": "127.0.0.1:0", "--ops-listen": "127.0.0.1:0"} | {option: taken}
            arguments = [part for pair in other.items() for part in pair]
            ended = await command(tmp_path, "serve", *TWO, *arguments, **KEY)
            assert (ended.code, ended.out) == (2, "")
            assert (
                ended.err == f"error: cannot listen on {taken}: Address already in use; choose another with {option}\n"
            )


async def test_what_keeps_workers_from_starting_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    ports = ("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
    ended = await command(tmp_path, "serve", *TWO, *ports, **KEY, TOKENWEIR_DATA_DIR="file/data")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: the database ")


async def test_a_signal_while_workers_start_ends_with_0(tmp_path):
    arguments = ("serve", *TWO, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
    async with process(tmp_path, *arguments, **KEY) as run:
        await eventually(lambda: bool(workers(run)))
        run.signal(signal.SIGTERM)
        ended = await run.end()
    assert (ended.code, ended.err) == (0, "")


async def test_log_lines_of_all_workers_are_whole(tmp_path):
    async with two_workers(tmp_path) as (gateway, http, headers, slow):
        slow.finish.set()

        async def ask() -> None:
            for _ in range(10):
                async with chat(gateway, http, headers) as answer:
                    await answer.read()

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(ask())
        gateway.signal(signal.SIGTERM)
        ended = await gateway.end()
    assert len([line for line in ended.log if line["event"] == "request"]) == 80


async def test_the_workers_keys_are_made_once(tmp_path):
    """Both start at the same time with nothing there; a key made of one pepper works on both."""
    async with two_workers(tmp_path) as (gateway, http, _, slow):
        slow.finish.set()
        key = {"x-api-key": make_key(tmp_path, "other"), "Connection": "close"}
        for _ in range(10):
            async with chat(gateway, http, key) as answer:
                assert answer.status == 200
                await answer.read()


async def test_what_lies_in_the_working_directory_is_not_imported(tmp_path):
    """The installed command does not look there, so neither do the processes that it starts."""
    (tmp_path / "gateway.py").write_text("raise SystemExit('imported from the working directory')\n")
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working directory')\n")
    script = (str(Path(sys.executable).with_name("tokenweir")),)
    arguments = ("serve", *TWO, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
    async with process(tmp_path, *arguments, program=script, **KEY) as gateway:
        await gateway.until("serves on")
        await gateway.reload()
