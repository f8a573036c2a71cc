"""A reload within a process: what is exchanged, what outlives it, and what is left of the old configuration."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref

import aiohttp
import pytest

from gateway.app import running
from gateway.database.errors import StoreError
from gateway.generation import ReloadRefused, _refuse_unwell
from tests.support.gateway import configuration
from tests.support.observed import Outcomes
from tests.support.raw_client import connected, request_bytes

NOWHERE = "http://127.0.0.1:1"


def config(directory, **sections):
    sections.setdefault("server", {})
    return configuration(directory, NOWHERE, **sections)


async def test_nothing_is_left_of_a_configuration_whose_work_is_done(tmp_path):
    async with running(config(tmp_path), Outcomes()) as gateway:
        old = weakref.ref(gateway.services.streams)
        before = len(asyncio.all_tasks())
        await gateway.reload(config(tmp_path), Outcomes())
        await asyncio.wait(gateway._endings)
        gc.collect()
        assert old() is None
        assert len(asyncio.all_tasks()) == before


async def test_limits_and_metrics_outlive_a_reload_and_the_rest_does_not(tmp_path):
    async with running(config(tmp_path), Outcomes()) as gateway:
        old = gateway.services
        await gateway.reload(config(tmp_path, chat={"model": "claude-new"}), Outcomes())
        assert gateway.services.holds is old.holds
        assert gateway.services.metrics is old.metrics
        assert gateway.services.chat.model == "claude-new"
        assert gateway.services.streams is not old.streams
        assert gateway.store is not None
        assert gateway.peppers is not None


@pytest.mark.parametrize(
    ("server", "key"),
    [
        ({"listen": "127.0.0.1:1"}, "server.listen"),
        ({"ops_listen": "127.0.0.1:1"}, "server.ops_listen"),
        ({"workers": 2}, "server.workers"),
    ],
)
async def test_what_cannot_change_while_running_is_refused_by_name(tmp_path, server, key):
    async with running(config(tmp_path), Outcomes()) as gateway:
        before = gateway.services
        with pytest.raises(ReloadRefused, match=key):
            await gateway.reload(config(tmp_path, server=server), Outcomes())
        assert gateway.services is before


async def test_days_do_not_begin_elsewhere_while_they_are_counted(tmp_path):
    async with running(config(tmp_path), Outcomes()) as gateway:
        with pytest.raises(ReloadRefused, match=r"^limits\.time_zone was UTC and is Europe/Paris"):
            await gateway.reload(config(tmp_path, limits={"time_zone": "Europe/Paris"}), Outcomes())


async def test_the_ledger_does_not_move_while_requests_are_in_it(tmp_path):
    async with running(config(tmp_path), Outcomes()) as gateway:
        before = gateway.services
        elsewhere = f"sqlite:///{tmp_path}/other/keys.db"
        with pytest.raises(ReloadRefused, match="database_url was changed, and the ledger is there"):
            await gateway.reload(config(tmp_path, database_url=elsewhere), Outcomes())
        assert gateway.services is before


async def test_a_configuration_whose_database_cannot_be_had_is_refused(tmp_path):
    async with running(config(tmp_path), Outcomes()) as gateway, aiohttp.ClientSession() as http:
        with pytest.raises(StoreError):
            await gateway.reload(config(tmp_path, database_url="sqlite:////proc/nothing/keys.db"), Outcomes())
        async with http.get(f"{gateway.url}/health") as health:
            assert health.status == 200


def test_a_configuration_whose_keys_cannot_be_read_is_refused():
    """At the start that is a warning, because there is nothing better; at a reload there is."""
    _refuse_unwell({"keys": "ok", "ledger": "ok"})
    with pytest.raises(ReloadRefused, match=r"keys: the database .* did not answer$"):
        _refuse_unwell({"keys": "the database of keys and tenants did not answer", "ledger": "ok"})


async def test_a_connection_from_before_brings_one_more_request_and_then_ends(tmp_path):
    async with running(config(tmp_path), Outcomes()) as gateway, connected(gateway.url) as wire:
        await wire.send(request_bytes("GET", "/health"))
        _, headers, _ = await wire.answer()
        assert headers.get("Connection") != "close"
        await gateway.reload(config(tmp_path), Outcomes())
        await wire.send(request_bytes("GET", "/health"))
        status, headers, _ = await wire.answer()
        assert (status, headers["Connection"]) == (200, "close")
        assert await wire.rest() == b""


async def test_operators_see_the_present_configuration_on_the_connections_that_they_have(tmp_path):
    async with running(config(tmp_path), Outcomes()) as gateway, connected(gateway.ops_url) as wire:
        for _ in range(2):
            await wire.send(request_bytes("GET", "/readyz"))
            assert (await wire.answer())[0] == 200
            await gateway.reload(config(tmp_path), Outcomes())


async def test_lines_that_any_log_dropped_are_counted(tmp_path):
    first, second = Outcomes(), Outcomes()
    async with running(config(tmp_path), first) as gateway:
        await gateway.reload(config(tmp_path), second)
        first.dropped, second.dropped = 2, 3
        body, _ = await gateway.services.metrics.render()
    assert b"tokenweir_log_lines_dropped_total 5.0" in body


async def test_the_buffers_of_later_connections_are_the_new_ones(tmp_path):
    async with running(config(tmp_path), Outcomes()) as gateway:
        sock = gateway._public._socket
        await gateway.reload(config(tmp_path, server={"send_buffer": 65536, "backlog": 7}), Outcomes())
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 65536


async def test_a_drain_waits_for_the_configurations_before(tmp_path):
    async with running(config(tmp_path), Outcomes()) as gateway, asyncio.timeout(15):
        await gateway.reload(config(tmp_path), Outcomes())
        endings = set(gateway._endings)
        await gateway.drain(0)
        assert all(ending.done() for ending in endings)
