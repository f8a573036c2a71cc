"""The gateway as a whole: what its start opens, its end and a failed start close; and what outlives a rotation."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sqlite3
import threading
from pathlib import Path

import aiohttp
import pytest

from gateway.app import running
from gateway.database.errors import DatabaseFailed, Refused
from gateway.database.opening import open_database
from gateway.web.server import ListenError
from tests.support.gateway import configuration, serving
from tests.support.observed import Outcomes, eventually
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import BLOCK, SSE_HEAD, START, scripted_upstream, text_delta

NOWHERE = "http://127.0.0.1:1"
FIRST, SECOND = "1:first-pepper-of-16", "2:second-pepper-of-16"


def _open() -> set[str]:
    """What this process has open: sockets and files, by what they are."""
    gc.collect()
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return found


def _threads() -> set[str]:
    """Threads of the gateway's parts; the event loop's own belong to the loop."""
    return {name for thread in threading.enumerate() if (name := thread.name).startswith(("keys", "metrics"))}


def _slow_start(directory, **sections):
    """A configuration whose start has to write to the database, which is there already."""
    anonymous = [{"origins": ["*"], "tenant": "shop", "plan": "default"}]
    config = configuration(directory, NOWHERE, anonymous=anonymous, **sections)
    open_database(config.database_url).dispose()
    return config


@contextlib.contextmanager
def _meanwhile(directory, act):
    """Do something while a start waits for the database; in a thread, because the start blocks its loop."""
    blocker = sqlite3.connect(directory / "tokenweir.db", check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")

    def run():
        act()
        blocker.rollback()
        blocker.close()

    timer = threading.Timer(0.2, run)
    timer.start()
    yield
    timer.join()


async def _left_by_failing(config, error: type[Exception]) -> set[str]:
    before = _open()
    with pytest.raises(error):
        async with running(config, Outcomes()):
            pass
    return _open() - before


async def test_a_whole_life_leaves_nothing_open(tmp_path):
    before = _open()
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url)) as caller:
        async with caller.post("/api/chat/stream", {"message": "hi"}) as response:
            await response.read()
        async with caller.session.get(caller.gateway.ops_url + "/metrics") as response:
            await response.read()
        assert len(_threads()) == 2
    await eventually(lambda: _open() <= before)
    await eventually(lambda: not _threads())


@pytest.mark.parametrize("taken", ["listen", "ops_listen"])
async def test_a_taken_port_leaves_nothing_open(tmp_path, taken):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        config = configuration(tmp_path, NOWHERE, server={taken: address})
        assert await _left_by_failing(config, ListenError) == set()


async def test_a_port_that_is_taken_between_binding_and_listening_leaves_nothing_open(tmp_path):
    """Two processes start at once: both bind, and only one listens. A locked database stands for the time between."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        config = _slow_start(tmp_path, server={"listen": f"127.0.0.1:{bound.getsockname()[1]}"})
        with _meanwhile(tmp_path, bound.listen):
            assert await _left_by_failing(config, ListenError) == set()


async def test_a_database_that_cannot_be_opened_leaves_nothing_open(tmp_path):
    (tmp_path / "tokenweir.db").write_bytes(b"not a database at all" * 100)
    assert await _left_by_failing(configuration(tmp_path, NOWHERE), DatabaseFailed) == set()


async def test_a_pepper_that_cannot_be_read_leaves_nothing_open(tmp_path):
    (tmp_path / "pepper").write_text("short")
    assert await _left_by_failing(configuration(tmp_path, NOWHERE), Refused) == set()


async def test_a_database_without_its_tables_leaves_nothing_open(tmp_path):
    config = configuration(tmp_path, NOWHERE)
    open_database(config.database_url).dispose()
    with sqlite3.connect(tmp_path / "tokenweir.db") as connection:
        connection.execute("ALTER TABLE keys RENAME TO away")
    connection.close()
    assert await _left_by_failing(config, DatabaseFailed) == set()


async def test_a_ca_file_that_is_none_leaves_nothing_open(tmp_path):
    """What fails behind the database, in the making of the parts."""
    (tmp_path / "ca.pem").write_text("no certificate")
    config = configuration(tmp_path, "https://127.0.0.1:1", upstream={"ca_file": str(tmp_path / "ca.pem")})
    assert await _left_by_failing(config, Exception) == set()


async def test_nothing_accepts_connections_before_all_is_ready(tmp_path):
    """While the database is slow, both ports refuse: no load balancer takes the process for a gateway."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = _slow_start(tmp_path, server={"listen": f"127.0.0.1:{port}"})
    refused = []

    def knock():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            refused.append(True)

    with _meanwhile(tmp_path, knock):
        async with running(config, Outcomes()) as gateway:
            assert refused == [True]
            async with aiohttp.ClientSession() as session, session.get(gateway.url + "/health") as response:
                assert response.status == 200


async def test_users_keep_their_pseudonyms_when_a_pepper_is_added(tmp_path):
    """Else every user would be a new one for the limits, on the day of the rotation."""
    found = []
    for number, peppers in enumerate((FIRST, f"{FIRST},{SECOND}", f"{SECOND},{FIRST}", SECOND)):
        config = configuration(tmp_path / str(number), NOWHERE, key_pepper=peppers)
        async with running(config, Outcomes()) as gateway:
            found.append(gateway.services.pseudonym("ann"))
            assert gateway.services.pseudonym("bob") != found[-1]
    assert found[0] == found[1] == found[2] != found[3]
    assert "ann" not in found[0]


async def test_what_still_runs_when_the_process_must_end_is_told_so(tmp_path):
    """However the end came: an error in the program that embeds it, a second Ctrl-C."""

    async def endless(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await peer.closed()

    async with scripted_upstream(endless) as claude, aiohttp.ClientSession() as session:
        outcomes = Outcomes()
        async with running(configuration(tmp_path, claude.url), outcomes) as gateway:
            gateway.store.ensure_tenant("acme")
            headers = {"x-api-key": gateway.store.create_key("acme", gateway.peppers)[1].text}
            url = f"{gateway.url}/api/chat/stream?message=hi"
            response = await session.get(url, headers=headers)
            await response.content.readuntil(b"Hel")
        assert b'"code":"draining"' in await response.content.read()
        assert (await outcomes.only()).error_code == "draining"


async def test_a_drain_waits_for_what_is_in_flight_and_no_longer(tmp_path):
    async with serving(configuration(tmp_path, NOWHERE)) as caller, asyncio.timeout(15):
        await caller.gateway.drain(0)
        with pytest.raises(ConnectionRefusedError):
            async with connected(caller.gateway.url, request_bytes("GET", "/health")):
                pass
        async with caller.session.get(caller.gateway.ops_url + "/readyz") as response:
            assert response.status == 503
