"""The cache of verified keys: what it serves, what it refuses, how soon it learns, and what it spares the database."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import threading

import pytest
from blockbuster import blockbuster_ctx
from sqlalchemy import update

from gateway.core.errors import Overloaded, StoreUnavailable, TenantSuspended, Unauthenticated
from gateway.core.keys import Peppers, new_key
from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.identity import tables
from gateway.identity.directory import UNAUTHENTICATED, Directory
from gateway.identity.records import Cut, KeyRecord
from gateway.identity.settings import KeySettings
from gateway.identity.store import Store

from .conftest import NOON

LAZY = KeySettings(refresh=4)  # reads when it is asked to
EAGER = KeySettings(refresh=0.005)
REVOKE = """
import sys
from gateway.database.opening import open_database
from gateway.identity.store import Store
engine = open_database(sys.argv[1])
Store(engine, actor="cli:other").revoke(sys.argv[2], cut_streams=True)
engine.dispose()
"""


class Gated:
    """The store behind a gate that can be shut while a read is under way: a database that hangs."""

    def __init__(self, store):
        self._store = store
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.asked = []

    def rehash(self, peppers, found):
        self._store.rehash(peppers, found)

    def read(self, since, key_ids, tenant_names):
        self.asked.append(list(key_ids))
        self.entered.set()
        self.open.wait(30)
        return self._store.read(since, key_ids, tenant_names)


@contextlib.asynccontextmanager
async def running(directory):
    """Run the directory as the application does."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(directory.run())
        try:
            yield directory
        finally:
            task.cancel()


@pytest.fixture
def key(store, peppers):
    store.create_tenant("shop", "gold")
    return store.create_key("shop", peppers, plan="small", expires_at=NOON + 3600)[1]


async def test_a_key_is_read_once_and_then_served_without_the_database(store, peppers, key, statements):
    async with running(Directory(store, peppers, LAZY)) as directory:
        assert directory.cached(key.text, NOON) is None
        record = await directory.authenticate(key.text, NOON)
        assert record == KeyRecord(key.id, "shop", "gold", "small", NOON + 3600)
        statements.clear()
        for _ in range(100):
            assert directory.cached(key.text, NOON) == record
            assert await directory.authenticate(key.text, NOON) == record
        assert statements == []


async def test_nothing_on_the_event_loop_blocks(store, peppers, key):
    async with running(Directory(store, peppers, LAZY)) as directory:
        with blockbuster_ctx():
            assert await directory.authenticate(key.text, NOON)
            assert await directory.synchronise()
            assert directory.cached(key.text, NOON)


async def test_every_bad_key_gets_the_same_answer(store, peppers, key):
    revoked = store.create_key("shop", peppers)[1]
    store.revoke(revoked.id)
    wrong_pepper = store.create_key("shop", Peppers.parse("1:first-pepper-0123456789,2:second-pepper-012345"))[1]
    unknown = new_key(lambda count: b"\x01" * count)
    async with running(Directory(store, peppers, LAZY)) as directory:
        for credential, now in (
            ("", NOON),
            ("sk-ant-something", NOON),
            (key.text[:-1] + "!", NOON),
            (unknown.text, NOON),
            (revoked.text, NOON),
            (wrong_pepper.text, NOON),
            (key.text, NOON + 3600),
        ):
            for _ in range(2):
                assert directory.cached(credential, now) is None
                with pytest.raises(Unauthenticated) as refused:
                    await directory.authenticate(credential, now)
                assert refused.value.message == UNAUTHENTICATED
        assert await directory.authenticate(key.text, NOON + 3599)


async def test_the_right_id_with_a_wrong_secret_is_refused_from_memory(store, engine, peppers, key, statements):
    """The row's hash is replaced, so the key presented is well-formed and not the one that the row was made for."""
    other = store.create_key("shop", peppers)[0]
    with transaction(engine, "change") as connection:
        connection.execute(update(tables.keys).where(tables.keys.c.id == key.id).values(hash=other.hash))
    async with running(Directory(store, peppers, LAZY)) as directory:
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                await directory.authenticate(key.text, NOON)
            assert directory.cached(key.text, NOON) is None
        assert sum("WHERE keys.id IN" in text for text in statements) == 1


async def test_an_unknown_id_is_looked_up_once_until_it_is_created(store, peppers, statements, engine):
    store.create_tenant("shop")
    async with running(Directory(store, peppers, LAZY)) as directory:
        row, key = store.create_key("shop", peppers)
        with transaction(engine, "change") as connection:
            connection.exec_driver_sql(f"UPDATE keys SET id = '{'0' * 12}' WHERE id = '{row.id}'")
        for _ in range(5):
            with pytest.raises(Unauthenticated):
                await directory.authenticate(key.text, NOON)
        assert sum("WHERE keys.id IN" in text for text in statements) == 1
        with transaction(engine, "change") as connection:
            number = store.revision() + 1
            connection.exec_driver_sql(f"UPDATE keys SET id = '{row.id}', changed_at = {number}")
            connection.exec_driver_sql(f"UPDATE revision SET number = {number}")
        assert await directory.synchronise()
        assert await directory.authenticate(key.text, NOON)


async def test_ids_remembered_as_unknown_have_a_limit(store, peppers, statements):
    """Past it one is looked up again: it costs a read and lets nobody in."""
    unknown = [new_key(lambda count, fill=fill: fill * count).text for fill in (b"\x02", b"\x03")]
    async with running(Directory(store, peppers, KeySettings(refresh=4, max_unknown=1))) as directory:
        for credential in (unknown[0], unknown[0], unknown[1], unknown[0]):
            with pytest.raises(Unauthenticated):
                await directory.authenticate(credential, NOON)
    assert sum("WHERE keys.id IN" in text for text in statements) == 3


async def test_requests_that_miss_at_once_share_reads(store, peppers, key):
    """While one read is under way all others wait for the next one, whatever their number."""
    gated = Gated(store)
    others = [store.create_key("shop", peppers)[1] for _ in range(20)]
    async with running(Directory(gated, peppers, LAZY)) as directory:
        assert await directory.synchronise()
        gated.asked.clear()
        gated.entered.clear()
        gated.open.clear()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(directory.authenticate(key.text, NOON)) for _ in range(10)]
            await asyncio.to_thread(gated.entered.wait, 30)
            tasks += [group.create_task(directory.authenticate(other.text, NOON)) for other in others for _ in "ab"]
            late = group.create_task(asyncio.to_thread(gated.open.set))
        assert late.done()
        assert {task.result().tenant for task in tasks} == {"shop"}
        assert [len(ids) for ids in gated.asked] == [1, 20]


async def test_a_client_that_leaves_does_not_take_the_answer_from_the_others(store, peppers, key):
    gated = Gated(store)
    gated.open.clear()
    async with running(Directory(gated, peppers, LAZY)) as directory, asyncio.TaskGroup() as group:
        leaving = group.create_task(directory.authenticate(key.text, NOON))
        staying = group.create_task(directory.authenticate(key.text, NOON))
        await asyncio.to_thread(gated.entered.wait, 30)
        leaving.cancel()
        gated.open.set()
        assert (await staying).key_id == key.id
    assert leaving.cancelled()


async def test_look_ups_in_waiting_have_a_limit(store, peppers, key):
    gated = Gated(store)
    gated.open.clear()
    one = KeySettings(refresh=4, max_lookups=1)
    async with running(Directory(gated, peppers, one)) as directory, asyncio.TaskGroup() as group:
        await asyncio.to_thread(gated.entered.wait, 30)
        first = group.create_task(directory.authenticate(key.text, NOON))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await directory.authenticate(new_key(lambda count: b"\x02" * count).text, NOON)
        gated.open.set()
        assert await first


async def test_a_revocation_by_another_process_is_seen_by_the_poll_and_cuts_streams(store, url, peppers, key):
    cuts = asyncio.Queue()
    async with running(Directory(store, peppers, EAGER, on_cut=cuts.put_nowait)) as directory:
        assert await directory.authenticate(key.text, NOON)
        revoker = await asyncio.create_subprocess_exec(sys.executable, "-c", REVOKE, url, key.id)
        assert await cuts.get() == Cut("key", key.id)
        assert directory.cached(key.text, NOON) is None
        with pytest.raises(Unauthenticated):
            await directory.authenticate(key.text, NOON)
        assert await revoker.wait() == 0


async def test_a_suspended_tenant_is_refused_by_name_only_to_who_has_the_key(store, engine, peppers, key):
    other = store.create_key("shop", peppers)[0]
    cuts = []
    async with running(Directory(store, peppers, LAZY, on_cut=cuts.append)) as directory:
        assert await directory.authenticate(key.text, NOON)
        store.suspend("shop")
        await directory.synchronise()
        assert directory.cached(key.text, NOON) is None
        with pytest.raises(TenantSuspended):
            await directory.authenticate(key.text, NOON)
        with transaction(engine, "change") as connection:
            connection.execute(update(tables.keys).where(tables.keys.c.id == key.id).values(hash=other.hash))
        store.revoke(other.id)
        store.suspend("shop", cut_streams=True)
        await directory.synchronise()
        assert cuts == [Cut("tenant", "shop")]
        store.resume("shop")
        await directory.synchronise()
        assert directory.cached(key.text, NOON)


async def test_a_cut_is_told_once_and_also_of_keys_that_are_not_in_memory(store, peppers, key):
    cuts = []
    store.suspend("shop", cut_streams=True)
    async with running(Directory(store, peppers, LAZY, anonymous=["shop"], on_cut=cuts.append)) as directory:
        await directory.synchronise()
        assert cuts == []
        store.revoke(key.id, cut_streams=True)
        store.resume("shop")
        await directory.synchronise()
        store.suspend("shop")
        await directory.synchronise()
        assert cuts == [Cut("key", key.id)]


async def test_a_rotated_key_works_until_the_overlap_ends(store, peppers, key, clock):
    async with running(Directory(store, peppers, LAZY)) as directory:
        await directory.authenticate(key.text, NOON)
        _, successor = store.rotate(key.id, peppers, overlap=60)
        await directory.synchronise()
        assert directory.cached(key.text, NOON + 59)
        assert directory.cached(key.text, NOON + 60) is None
        assert (await directory.authenticate(successor.text, NOON + 60)).key_plan == "small"
        with pytest.raises(Unauthenticated):
            await directory.authenticate(key.text, NOON + 60)


async def test_keys_under_an_old_and_a_new_pepper_work_side_by_side(store, peppers, key):
    both = Peppers.parse("1:first-pepper-0123456789,2:second-pepper-0123456789")
    _, new = store.create_key("shop", both)
    async with running(Directory(store, both, LAZY)) as directory:
        assert await directory.authenticate(key.text, NOON)
        assert await directory.authenticate(new.text, NOON)


async def test_a_poll_that_finds_nothing_new_is_one_statement(store, peppers, key, statements):
    async with running(Directory(store, peppers, LAZY, anonymous=["shop"])) as directory:
        await directory.authenticate(key.text, NOON)
        statements.clear()
        await directory.synchronise()
        assert [text.split()[0] for text in statements if text != "BEGIN"] == ["SELECT"]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_keys_in_memory_survive_a_database_that_is_gone_and_the_others_wait_for_it(store, peppers, key, tmp_path):
    unseen = store.create_key("shop", peppers)[1]
    async with running(Directory(store, peppers, LAZY)) as directory:
        await directory.authenticate(key.text, NOON)
        assert directory.ping() is None
        (tmp_path / "data").rename(tmp_path / "gone")
        assert not await directory.synchronise()
        assert "unable to open database file" in directory.ping()
        assert directory.cached(key.text, NOON)
        with pytest.raises(StoreUnavailable):
            await directory.authenticate(unseen.text, NOON)
        (tmp_path / "gone").rename(tmp_path / "data")
        assert await directory.synchronise()
        assert directory.ping() is None
        assert await directory.authenticate(unseen.text, NOON)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_locked_database_is_reported_and_recovered_from(engine, url, peppers, key, tmp_path):
    """An exclusive lock, as a repair takes it, stops readers too."""
    engine.dispose()
    impatient = open_database(url, busy_timeout=0.01)
    impatient.dispose()
    locker = sqlite3.connect(tmp_path / "data" / "tokenweir.db", isolation_level=None)
    for statement in ("PRAGMA locking_mode=EXCLUSIVE", "BEGIN EXCLUSIVE"):
        locker.execute(statement)
    async with running(Directory(Store(impatient, actor="x"), peppers, LAZY)) as directory:
        with pytest.raises(StoreUnavailable):
            await directory.authenticate(key.text, NOON)
        assert "database is locked" in directory.ping()
        locker.close()
        assert await directory.authenticate(key.text, NOON)
    impatient.dispose()


async def test_a_database_that_hangs_fails_those_who_wait_and_is_recovered_from(store, peppers, key):
    gated = Gated(store)
    gated.open.clear()
    async with running(Directory(gated, peppers, KeySettings(refresh=4, read_timeout=0.01))) as directory:
        with pytest.raises(StoreUnavailable) as refused:
            await directory.authenticate(key.text, NOON)
        assert refused.value.retry_after == 1
        assert not await directory.synchronise()
        assert "did not answer within 0.01 s" in directory.ping()
        gated.open.set()
        while not directory.cached(key.text, NOON):
            with contextlib.suppress(StoreUnavailable):
                await directory.authenticate(key.text, NOON)
        while not await directory.synchronise():
            pass
        assert directory.ping() is None


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_another_database_in_its_place_makes_everything_be_read_anew(store, url, peppers, key, tmp_path):
    async with running(Directory(store, peppers, LAZY, anonymous=["shop"])) as directory:
        await directory.authenticate(key.text, NOON)
        other = open_database(f"sqlite:///{tmp_path}/other.db")
        Store(other, actor="x").create_tenant("shop", "restored")
        other.dispose()
        for file in (tmp_path / "data").iterdir():
            file.unlink()
        (tmp_path / "other.db").rename(tmp_path / "data" / "tokenweir.db")
        await directory.synchronise()
        await directory.synchronise()
        assert directory.cached(key.text, NOON) is None
        assert directory.anonymous_tenant("shop").plan == "restored"
        with pytest.raises(Unauthenticated):
            await directory.authenticate(key.text, NOON)


async def test_anonymous_tenants_are_in_memory_after_the_first_read_and_follow_changes(store, peppers):
    store.create_tenant("shop", "browser")
    async with running(Directory(store, peppers, LAZY, anonymous=["shop", "later"])) as directory:
        with pytest.raises(StoreUnavailable):
            directory.anonymous_tenant("shop")
        await directory.synchronise()
        assert directory.anonymous_tenant("shop").plan == "browser"
        store.ensure_tenant("later", "browser")
        store.suspend("shop")
        await directory.synchronise()
        assert directory.anonymous_tenant("later").plan == "browser"
        with pytest.raises(TenantSuspended):
            directory.anonymous_tenant("shop")


async def test_a_cache_smaller_than_the_keys_in_use_still_answers_right(store, peppers, key):
    store.create_tenant("bank")
    other = store.create_key("bank", peppers)[1]
    async with running(Directory(store, peppers, KeySettings(refresh=4, cache_size=1))) as directory:
        for _ in range(3):
            assert (await directory.authenticate(key.text, NOON)).tenant == "shop"
            assert (await directory.authenticate(other.text, NOON)).tenant == "bank"
        both = await asyncio.gather(*(directory.authenticate(some.text, NOON) for some in (key, other)))
        assert [record.tenant for record in both] == ["shop", "bank"]


async def test_a_directory_that_stops_refuses_at_once_those_who_wait(store, peppers, key):
    gated = Gated(store)
    gated.open.clear()
    directory = Directory(gated, peppers, KeySettings(refresh=4, read_timeout=30))

    async def refused():
        with pytest.raises(StoreUnavailable):
            await directory.authenticate(key.text, NOON)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        run = group.create_task(directory.run())
        group.create_task(refused())  # read by the round under way
        await asyncio.to_thread(gated.entered.wait, 30)
        group.create_task(refused())  # waits for the next
        await asyncio.sleep(0)
        run.cancel()
    assert directory.ping() == "stopped"
    gated.open.set()


async def test_the_interpreter_ends_with_a_poll_under_way(url, store, peppers):
    """The reader's thread must not outlive the program that was interrupted."""
    script = (
        "import asyncio, sys\n"
        "from gateway.core.keys import Peppers\n"
        "from gateway.database.opening import open_database\n"
        "from gateway.identity.directory import Directory\n"
        "from gateway.identity.settings import KeySettings\n"
        "from gateway.identity.store import Store\n"
        "async def main():\n"
        "    engine = open_database(sys.argv[1])\n"
        "    directory = Directory(Store(engine, actor='x'), Peppers.parse('a' * 16), KeySettings(refresh=0.001))\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        task = group.create_task(directory.run())\n"
        "        await directory.synchronise()\n"
        "        task.cancel()\n"
        "    engine.dispose()\n"
        "asyncio.run(main())\n"
    )
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-W", "error", "-c", script, url], capture_output=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
