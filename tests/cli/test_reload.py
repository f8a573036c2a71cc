"""SIGHUP in a gateway of one process: another configuration, and nothing that runs notices."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.support.observed import eventually
from tests.support.process import PATIENCE, on_a_terminal, process, serving
from tests.support.streaming import AT_ONCE, KEY, begin, chat, health, rest, streaming_gateway
from tests.support.workers import children, files, scraped

DONE = b'"type":"done"'
FILE = ("--config", "c.toml")


async def test_what_comes_after_a_reload_has_the_new_configuration_and_what_runs_the_old(tmp_path):
    (tmp_path / "c.toml").write_text('[chat]\nmodel = "claude-old"\n')
    async with (
        streaming_gateway(tmp_path, *FILE, TOKENWEIR_SERVER__DRAIN_DELAY="0") as (gateway, http, headers, slow),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        (tmp_path / "c.toml").write_text('[chat]\nmodel = "claude-new"\n')
        await gateway.reload()
        async with chat(gateway, http, headers) as later:
            await begin(later)
            async with http.get(f"{gateway.ops_url}/readyz") as ready:
                assert ready.status == 200
            assert (await scraped(http, gateway.ops_url))["tokenweir_draining"] == 1
            slow.finish.set()
            assert DONE in await rest(running)
            assert DONE in await rest(later)
        assert slow.models == ["claude-old", "claude-new"]
        series = await scraped(http, gateway.ops_url)
        assert series['tokenweir_reloads_total{result="done"}'] == 1
        assert series["tokenweir_workers"] == 1
        assert not children(gateway.process.pid)


async def test_limits_go_on_counting_and_counters_do_not_go_back(tmp_path):
    (tmp_path / "c.toml").write_text("[plans.default]\nrequests_per_minute = 3\n")
    async with streaming_gateway(tmp_path, *FILE) as (gateway, http, headers, slow):
        slow.finish.set()
        statuses = []
        for reload in (False, True):
            if reload:
                await gateway.reload()
            for _ in range(2):
                async with chat(gateway, http, headers) as answer:
                    await answer.read()
                    statuses.append(answer.status)
        assert statuses == [200, 200, 200, 429]
        series = await scraped(http, gateway.ops_url)
        counted = [value for name, value in series.items() if name.startswith("tokenweir_requests_total{")]
        assert sum(counted) == 4


async def test_connections_that_come_during_a_reload_are_all_served(tmp_path):
    (tmp_path / "c.toml").write_text("")
    async with serving(tmp_path, "serve", *FILE, **AT_ONCE) as gateway:
        over = asyncio.Event()
        served: list[int] = []

        async def keep_coming(*, keep: bool) -> None:
            while not over.is_set():
                served.append(await health(gateway.url, keep=keep))
                await asyncio.sleep(0.01)  # what reloads needs the processor as well

        async with asyncio.TaskGroup() as group:
            for keep in (True, False):
                group.create_task(keep_coming(keep=keep))
            for _ in range(3):
                await gateway.reload()
            over.set()
    assert set(served) == {200}
    assert len(served) > 3  # a busy machine serves few in the time of three reloads


async def test_a_wrong_configuration_is_refused_in_one_line_and_the_old_one_stays(tmp_path):
    (tmp_path / "c.toml").write_text("")
    async with (
        streaming_gateway(tmp_path, *FILE) as (gateway, http, headers, slow),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        for text, reason in (
            ('[server]\nheartbeat = "soon"\n', "server.heartbeat"),
            ("[chat]\nmodel = 3\nmax_tokens = 0\n", "allowed: a text; chat.max_tokens = 0 (c.toml): allowed: "),
            ("[server]\nworkers = 2\n", "server.workers was 1 and is 2: that takes a restart"),
            ('database_url = "sqlite:////proc/nothing/keys.db"\n', "the database "),
            ("no toml", "c.toml"),
        ):
            (tmp_path / "c.toml").write_text(text)
            assert reason in await gateway.refused_reload()
        slow.finish.set()
        assert DONE in await rest(running)
        async with chat(gateway, http, headers) as later:
            assert DONE in await rest(later)
        series = await scraped(http, gateway.ops_url)
        assert series['tokenweir_reloads_total{result="refused"}'] == 5


async def test_reloads_leave_no_file_open(tmp_path):
    (tmp_path / "c.toml").write_text("")
    async with streaming_gateway(tmp_path, *FILE, TOKENWEIR_SERVER__DRAIN_DELAY="0") as (gateway, http, headers, slow):
        slow.finish.set()

        async def reload() -> None:
            await gateway.reload()
            async with chat(gateway, http, headers) as answer:
                await answer.read()
            async with asyncio.timeout(15):
                while (await scraped(http, gateway.ops_url))["tokenweir_draining"]:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)

        await reload()
        first = files(gateway.process.pid)
        for _ in range(5):
            await reload()
        await eventually(lambda: files(gateway.process.pid) < first + 5)  # connections to Claude come and go


async def test_sigterm_during_a_reload_ends_in_order(tmp_path):
    """What it was doing is given up; the stream of the configuration before is finished, and of the one before that."""
    async with (
        streaming_gateway(tmp_path, TOKENWEIR_SERVER__DRAIN_DELAY="0") as (gateway, http, headers, slow),
        chat(gateway, http, headers) as oldest,
    ):
        await begin(oldest)
        await gateway.reload()
        async with chat(gateway, http, headers) as old:
            await begin(old)
            gateway.signal(signal.SIGHUP)
            gateway.signal(signal.SIGTERM)
            await gateway.until('"draining"')
            slow.finish.set()
            assert DONE in await rest(oldest)
            assert DONE in await rest(old)
        ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")


async def test_what_the_old_configuration_does_not_finish_in_its_grace_period_is_told(tmp_path):
    variables = {"TOKENWEIR_SERVER__DRAIN_DELAY": "0", "TOKENWEIR_SERVER__DRAIN_GRACE": "200ms"}
    async with (
        streaming_gateway(tmp_path, **variables) as (gateway, http, headers, _),
        chat(gateway, http, headers) as running,
    ):
        await begin(running)
        gateway.signal(signal.SIGHUP)
        assert b'"code":"draining"' in await rest(running)


async def test_signals_during_a_reload_make_one_more(tmp_path):
    async with serving(tmp_path, "serve", **AT_ONCE) as gateway:
        for _ in range(4):
            gateway.signal(signal.SIGHUP)
        await gateway.reload()
        gateway.signal(signal.SIGTERM)
        ended = await gateway.end()
    assert ended.code == 0
    assert 1 <= sum(line["event"] == "configuration reloaded" for line in ended.log) <= 5


async def test_sighup_while_it_starts_does_not_kill_it(tmp_path):
    ports = ("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
    async with process(tmp_path, "serve", *ports, **KEY) as gateway:
        await eventually(lambda: _ignores_sighup(gateway.process.pid))
        gateway.signal(signal.SIGHUP)
        await gateway.until("serves on")


def _ignores_sighup(pid: int) -> bool:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    taken = int(lines["SigIgn"], 16) | int(lines["SigCgt"], 16)
    return bool(taken >> (signal.SIGHUP - 1) & 1)


async def test_the_demo_keeps_its_configuration_and_goes_on(tmp_path):
    async with serving(tmp_path, "demo") as demo:
        assert await demo.refused_reload() == "this command keeps the configuration that it began with"


def test_when_the_terminal_is_closed_it_ends(tmp_path):
    """It says so with the same signal."""
    with on_a_terminal(tmp_path, "serve", **AT_ONCE) as terminal:
        terminal.until(b"serves on")
        terminal.close()
        assert terminal.process.wait(PATIENCE) == 0
