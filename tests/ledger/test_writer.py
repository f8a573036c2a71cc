"""The writer: what it says is durable is, whatever happens to the database meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest
from blockbuster import blockbuster_ctx
from sqlalchemy import event

from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.ledger.journal import Journal, files_in, read_rows
from gateway.ledger.ledger import open_ledger
from gateway.ledger.rows import State, open_row
from gateway.ledger.settings import LedgerSettings
from gateway.ledger.statements import merge
from gateway.ledger.writer import SWITCH_INTERVAL, LedgerUnavailable, Writer
from tests.support.postgresql import cluster

from .conftest import admitted, all_rows, checkpoint, completed

WRITE = """
import asyncio, sys
from pathlib import Path
from gateway.database.opening import open_database
from gateway.ledger.journal import Journal, files_in, read_rows
from gateway.ledger.rows import Admitted, Answer, Checkpoint, Completed, Spent
from gateway.ledger.writer import Writer
async def main():
    writer = Writer(open_database(sys.argv[1]), Journal(Path(sys.argv[2]), "killed"), limit=0.05)
    for number in range(1_000_000):
        told = Admitted(f"r{number}", "shop", "k1", "", "m", "chat", "/", True, 0.0, "2025-11-24", "killed")
        await writer.admit(told, Checkpoint(0.0, 10.0, Spent(input_tokens=7)))
        print(number, flush=True)
        writer.complete(told, Completed(1.0, Spent(input_tokens=7), Answer(), "done", 200))
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def server():
    """A server that only these tests stop."""
    with cluster() as server:
        yield server


@contextlib.asynccontextmanager
async def writing(url, tmp_path, **given):
    engine = open_database(url, busy_timeout=20)
    writer = Writer(engine, Journal(tmp_path / "journal", "w1"), **given)
    try:
        yield writer, engine
    finally:
        await writer.close(20)
        engine.dispose()


async def until(condition):
    """Let threads go on until something is so."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.to_thread(os.sched_yield)


def in_journals(tmp_path):
    """What waits in files, by request."""
    return [row[0] for path in files_in(tmp_path / "journal") for row in read_rows(path)]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_an_admission_is_in_a_database_elsewhere_when_its_future_is_done(writer, engine):
    await writer.admit(admitted(), checkpoint())
    row = all_rows(engine)["r1"]
    assert (row["state"], row["input_tokens"], row["estimated"]) == (State.OPEN, 100, True)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_with_a_database_beside_it_an_admission_is_done_when_it_is_in_the_journal(url, tmp_path):
    async with writing(url, tmp_path) as (writer, engine):
        with transaction(engine, "change"):  # the database takes nothing
            assert writer.admit(admitted(), checkpoint()).done()
            assert (in_journals(tmp_path), writer.waiting) == (["r1"], 1)
        await until(lambda: "r1" in all_rows(engine))
        await until(lambda: not in_journals(tmp_path))


async def test_checkpoints_and_the_end_follow(writer, engine):
    await writer.admit(admitted(), checkpoint())
    writer.checkpoint(admitted(), checkpoint(at=checkpoint().at + 15, output=7))
    writer.complete(admitted("other"), completed())
    await writer.close(10)
    rows = all_rows(engine)
    assert (rows["r1"]["output_tokens"], rows["r1"]["state"]) == (7, State.OPEN)
    assert (rows["other"]["output_tokens"], rows["other"]["state"]) == (20, State.DONE)
    assert (writer.waiting, writer.journal_depth, writer.lost) == (0, 0, 0)


async def test_what_comes_together_is_one_transaction(writer, engine):
    commits = []
    await writer.admit(admitted("first"), checkpoint())
    event.listen(engine, "commit", commits.append)
    with transaction(engine, "change"):  # the writer waits, or is done with the first of them
        futures = [writer.admit(admitted(f"r{number}"), checkpoint()) for number in range(100)]
    await asyncio.gather(*futures)
    await until(lambda: not writer.waiting)
    assert len(commits) <= 6
    assert len(all_rows(engine)) == 101


async def test_nothing_blocks_the_event_loop_but_a_write_to_the_journal(writer):
    with blockbuster_ctx() as blockbuster:
        blockbuster.functions["os.write"].can_block_in("gateway/ledger/journal.py", "_write")
        await writer.admit(admitted(), checkpoint())
        writer.checkpoint(admitted(), checkpoint())
        writer.complete(admitted(), completed())
        await writer.close(10)


async def test_an_event_loop_that_never_rests_leaves_the_writer_its_turns(writer, engine):
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        async with asyncio.timeout(5):
            for number in range(20):
                future = writer.admit(admitted(f"r{number}"), checkpoint())
                while not future.done():
                    sum(range(50_000))
                    await asyncio.sleep(0)
    finally:
        sys.setswitchinterval(before)
    await until(lambda: len(all_rows(engine)) == 20)


async def test_a_client_that_left_is_not_told(writer, engine):
    writer.admit(admitted("left"), checkpoint()).cancel()
    await writer.admit(admitted(), checkpoint())
    await until(lambda: set(all_rows(engine)) == {"left", "r1"})


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_what_a_locked_database_does_not_take_is_on_the_disk_and_counted(url, tmp_path, monkeypatch):
    synced = threading.Event()
    monkeypatch.setattr(Journal, "sync", lambda _: synced.set())
    async with writing(url, tmp_path, limit=0.1) as (writer, engine):
        with transaction(engine, "change"):
            for number in range(5):
                await writer.admit(admitted(f"r{number}"), checkpoint())
                writer.complete(admitted(f"r{number}"), completed())
            await until(lambda: writer.journal_depth == 10)
            await until(synced.is_set)
        await writer.close(20)
        assert {name: row["state"] for name, row in all_rows(engine).items()} == {f"r{n}": 2 for n in range(5)}
        assert (writer.journal_depth, writer.lost) == (0, 0)


async def test_a_postgresql_server_that_stands_still_delays_nobody_and_loses_nothing(server, tmp_path):
    async with writing(server.new_database(), tmp_path, limit=0.1) as (writer, engine):
        await writer.admit(admitted("before"), checkpoint())
        with server.frozen():
            for number in range(20):
                async with asyncio.timeout(2):
                    await writer.admit(admitted(f"r{number}"), checkpoint())
                writer.complete(admitted(f"r{number}"), completed())
            assert writer.journal_depth >= 20
        await writer.close(20)
        assert writer.journal_depth == 0
        rows = all_rows(engine)
        assert len(rows) == 21
        assert {row["state"] for name, row in rows.items() if name != "before"} == {State.DONE}


async def test_a_postgresql_server_that_is_killed_in_the_middle_loses_and_doubles_nothing(server, tmp_path):
    async with writing(server.new_database(), tmp_path) as (writer, engine):

        async def requests(name):
            for number in range(60):
                await writer.admit(admitted(f"{name}{number}"), checkpoint())
                writer.complete(admitted(f"{name}{number}"), completed())

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for name in "abcdefgh":
                group.create_task(requests(name))
            await writer.admit(admitted("first"), checkpoint())
            await asyncio.to_thread(server.stop)
            await writer.admit(admitted("without"), checkpoint())
            assert writer.ping().startswith("the database of the ledger cannot be used: ")
            await asyncio.to_thread(server.start)
        while writer.journal_depth:
            await writer.admit(admitted("waiting"), checkpoint())
        assert writer.ping() is None
        await writer.close(20)
        assert writer.ping() == "stopped"
        rows = all_rows(engine)
        assert sum(row["state"] == State.DONE for row in rows.values()) == 8 * 60
        assert {"first", "without"} <= rows.keys()


async def test_the_journal_is_handed_over_without_new_requests(server, tmp_path):
    async with writing(server.new_database(), tmp_path) as (writer, engine):
        await asyncio.to_thread(server.stop)
        await writer.admit(admitted(), checkpoint())
        assert (writer.journal_depth, in_journals(tmp_path)) == (1, ["r1"])
        await asyncio.to_thread(server.start)
        await until(lambda: not writer.journal_depth)
        assert "r1" in all_rows(engine)


def test_a_process_that_is_killed_has_written_all_that_it_said_is_durable(url, tmp_path):
    """Kill -9, with an unfinished admission in the air; the next process takes over what a journal holds."""
    open_database(url).dispose()
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, url, str(tmp_path / "journal")], stdout=subprocess.PIPE, text=True
    ) as process:
        said = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().splitlines()]

    async def take_over():
        async with writing(url, tmp_path) as (writer, _):
            await asyncio.to_thread(writer.adopt)
            await writer.admit(admitted("next"), checkpoint())

    asyncio.run(take_over())
    engine = open_database(url)
    rows = all_rows(engine)
    engine.dispose()
    assert {f"r{number}" for number in said} <= rows.keys()
    assert len(rows) <= len(said) + 2
    assert sum(row["state"] == State.DONE for row in rows.values()) >= len(said) - 1


async def test_what_dead_processes_left_is_in_the_database_before_the_books_are_read(url, tmp_path):
    dead = Journal(tmp_path / "journal", "dead")
    dead.append([open_row(admitted("left"), checkpoint())])
    dead.close()
    async with open_ledger(url, tmp_path / "journal", LedgerSettings(), busy_timeout=5) as ledger:
        assert ledger.books.request("left")
    assert list((tmp_path / "journal").iterdir()) == []  # not even an empty file


async def test_what_a_process_left_that_died_later_is_adopted_on_demand(writer, engine, tmp_path):
    await writer.admit(admitted(), checkpoint())
    dead = Journal(tmp_path / "journal", "dead")
    dead.append([open_row(admitted("left"), checkpoint())])
    dead.close()
    assert await asyncio.to_thread(writer.adopt) == 1
    assert "left" in all_rows(engine)


@pytest.fixture
def full_disk():
    """A disk that takes nothing. The database is elsewhere, and gone."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_without_database_and_disk_admissions_are_refused_and_ends_are_kept(server, tmp_path, full_disk):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with writing(server.new_database(), tmp_path, max_waiting=3) as (writer, engine):
        await writer.admit(admitted("early"), checkpoint())
        await asyncio.to_thread(server.stop)
        full_disk()
        with pytest.raises(
            LedgerUnavailable, match=r"cannot be used: .*; the journal .* cannot be written: File too l"
        ):
            await writer.admit(admitted(), checkpoint())
        for number in range(5):
            writer.complete(admitted(f"r{number}"), completed())
        while not writer.lost:
            with contextlib.suppress(LedgerUnavailable):
                await writer.admit(admitted("again"), checkpoint())
        assert writer.lost == 2
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        await asyncio.to_thread(server.start)
        await writer.close(20)
        await asyncio.to_thread(_replayed, engine, tmp_path)
        assert len(all_rows(engine).keys() - {"again"}) == 1 + 3


def _replayed(engine, tmp_path):
    def write(rows):
        with transaction(engine, "add") as connection:
            merge(connection, rows)

    Journal(tmp_path / "journal", "after").hand_over_of_the_dead(write)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_without_a_journal_admissions_wait_for_the_database_and_are_bounded(url, tmp_path):
    (tmp_path / "journal").write_text("not a directory")
    async with writing(url, tmp_path, limit=30, max_waiting=4) as (writer, engine):
        await writer.admit(admitted("early"), checkpoint())
        assert "early" in all_rows(engine)
        with transaction(engine, "change"):
            first = writer.admit(admitted("first"), checkpoint())
            await until(lambda: not writer.waiting)  # it is in the thread's hands
            waiting = [writer.admit(admitted(f"r{number}"), checkpoint()) for number in range(4)]
            with pytest.raises(
                LedgerUnavailable, match=r"the journal .* cannot be written: .*; 4 rows wait for the data"
            ):
                writer.admit(admitted("late"), checkpoint())
            writer.checkpoint(admitted("late"), checkpoint())
            writer.complete(admitted("end"), completed())
            assert writer.lost == 1
        await asyncio.gather(first, *waiting)
        await writer.close(10)
        assert all_rows(engine).keys() == {"early", "first", *(f"r{number}" for number in range(4))}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_without_a_journal_and_a_locked_database_admissions_are_refused_in_time(url, tmp_path):
    (tmp_path / "journal").write_text("not a directory")
    async with writing(url, tmp_path, limit=0.1) as (writer, engine):
        with transaction(engine, "change"):
            async with asyncio.timeout(2):
                for _ in range(3):
                    with pytest.raises(LedgerUnavailable, match=r"the database is too slow; the journal .* cannot be"):
                        await writer.admit(admitted(), checkpoint())


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_closing_does_not_wait_for_a_database_that_stands_still(url, tmp_path):
    engine = open_database(url, busy_timeout=20)
    writer = Writer(engine, Journal(tmp_path / "journal", "w1"), limit=30)
    with transaction(engine, "change"):
        writer.complete(admitted("early"), completed())
        await until(lambda: writer._journal._waiting)
        writer.complete(admitted("late"), completed())
        await writer.close(0.01)
        assert in_journals(tmp_path) == ["early", "late"]
    await asyncio.to_thread(writer._thread.join, 20)
    engine.dispose()
