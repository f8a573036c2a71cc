"""Workers that do what workers should not: what becomes of the group."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.support.observed import eventually
from tests.support.supervision import SERVES, supervised
from tests.support.workers import alive

READY = 'say("ready", checks={"keys": "ok"})\n'


async def test_a_worker_that_cannot_start_says_why_and_no_other_lives_on(tmp_path):
    async with supervised(tmp_path, 'say("failed", reason="the database is gone")\nraise SystemExit(2)') as it:
        assert await it.group.start() == "the database is gone"
        await eventually(lambda: not it.group._members)
        assert it.pids == []


async def test_a_worker_that_dies_while_it_starts_is_a_reason(tmp_path):
    async with supervised(tmp_path, "os.kill(os.getpid(), 9)") as it:
        assert await it.group.start() == "a worker ended while it started, with SIGKILL"


async def test_a_worker_that_is_never_ready_is_not_waited_for(tmp_path):
    async with supervised(tmp_path, "obey()", start_timeout=0.5) as it:
        assert await it.group.start() == "a worker was not ready within 0.5 s"
        await eventually(lambda: not it.group._members)


async def test_a_worker_that_dies_young_is_replaced_after_ever_longer_pauses(tmp_path):
    at_its_first_order = f"{READY}next(orders())\nos.kill(os.getpid(), 9)"
    async with supervised(tmp_path, at_its_first_order, workers=1) as it:
        assert await it.group.start() is None
        for _ in range(3):
            assert (await it.said("a worker died"))["ended_with"] == "SIGKILL"
        assert it.group._pauses[0] == 3


async def test_a_replacement_that_cannot_start_is_tried_again(tmp_path):
    once = tmp_path / "once"
    does = (
        f"if os.path.exists({str(once)!r}):\n"
        f'    os.remove({str(once)!r})\n    say("failed", reason="not yet")\n    raise SystemExit(2)\n{SERVES}'
    )
    async with supervised(tmp_path, does, workers=1) as it:
        await it.group.start()
        once.write_text("")
        os.kill(it.pids[0], signal.SIGKILL)
        assert (await it.said("a worker cannot be replaced yet"))["reason"] == "not yet"
        await it.said("a worker was replaced")


async def test_a_reload_takes_new_workers_and_ends_the_old(tmp_path):
    async with supervised(tmp_path) as it:
        await it.group.start()
        old = it.pids
        it.write_anew(workers=3)
        it.group.reload()
        line = await it.said("configuration reloaded")
        assert line["workers"] == it.pids
        assert len(it.pids) == 3
        await eventually(lambda: not any(alive(pid) for pid in old))


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ('say("failed", reason="no pepper")', "no pepper"),
        ('say("ready", checks={"keys": "cannot be read"})\nobey()', "keys: cannot be read"),
    ],
)
async def test_a_reload_whose_workers_are_not_well_changes_nothing(tmp_path, does, reason):
    async with supervised(tmp_path) as it:
        await it.group.start()
        old = it.pids
        it.write_anew(config={"does": does}, workers=3)
        it.group.reload()
        assert (await it.said("reload refused, the old configuration stays"))["reason"] == reason
        assert it.pids == old
        await eventually(lambda: len(it.group._members) == 2)
        # What it has from the attempt is used by the next.
        it.write_anew(workers=3)
        it.group.reload()
        await it.said("configuration reloaded")


async def test_two_reloads_that_are_asked_for_at_once_are_two_at_most(tmp_path):
    async with supervised(tmp_path) as it:
        await it.group.start()
        it.write_anew()
        for _ in range(5):
            it.group.reload()
        await it.said("configuration reloaded")
        await eventually(lambda: not it.group._reloading)


async def test_a_reload_after_the_end_has_begun_does_nothing(tmp_path):
    async with supervised(tmp_path) as it:
        await it.group.start()
        await it.group.drain(0)
        it.group.reload()
        assert not it.group._reloading


async def test_a_worker_that_does_not_end_is_killed(tmp_path):
    stubborn = READY + "for _ in orders():\n    pass\n"
    async with supervised(tmp_path, stubborn, drain_grace=0.1, stop_timeout=0.1, workers=1) as it:
        await it.group.start()
        (pid,) = it.pids
        await it.group.drain(0)
        await it.said("a worker does not end, and is killed")
        assert not alive(pid)


async def test_stopping_does_not_wait_for_streams(tmp_path):
    async with supervised(tmp_path, workers=1) as it:
        await it.group.start()
        (pid,) = it.pids
        await it.group.stop()
        assert not alive(pid)


async def test_a_worker_that_answers_nothing_is_killed_and_replaced(tmp_path):
    once = tmp_path / "once"
    once.write_text("")
    does = f"{READY}if os.path.exists({str(once)!r}):\n    os.remove({str(once)!r})\n    time.sleep(1000)\nobey()"
    async with supervised(tmp_path, does, workers=1, worker_timeout=0.4) as it:
        await it.group.start()
        await it.said("a worker does not answer, and is killed")
        await it.said("a worker was replaced")


async def test_a_worker_that_retires_is_replaced_at_once(tmp_path):
    once = tmp_path / "once"
    once.write_text("")
    does = f'{READY}if os.path.exists({str(once)!r}):\n    os.remove({str(once)!r})\n    next(orders())\n    say("retiring")\nobey()'
    async with supervised(tmp_path, does, workers=1) as it:
        await it.group.start()
        await it.said("a worker was told to end, and is replaced")
        await it.said("a worker was replaced")


async def test_a_signal_in_the_middle_of_a_start_leaves_no_worker(tmp_path):
    async with supervised(tmp_path, "obey()") as it:
        starting = asyncio.ensure_future(it.group.start())  # noqa: TID251 - the test owns it
        await eventually(lambda: len(it.group._members) == 2)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await eventually(lambda: not it.group._members)


async def test_a_death_while_it_ends_is_told_and_nobody_is_replaced(tmp_path):
    async with supervised(tmp_path, READY + "for _ in orders():\n    os.kill(os.getpid(), 11)", workers=1) as it:
        await it.group.start()
        await it.group.drain(0)
        assert (await it.said("a worker died"))["ended_with"] == "SIGSEGV"
        assert it.group._members == set()


@pytest.mark.parametrize("leaves", ['say("retiring")\nobey()', "raise SystemExit(0)"])
async def test_a_worker_that_is_gone_before_the_others_are_ready_fails_the_start(tmp_path, leaves):
    """It must not be given a place, which nobody would take from it."""
    first, noticed = tmp_path / "first", tmp_path / "noticed"
    does = (
        f"try:\n    os.close(os.open({str(first)!r}, os.O_CREAT | os.O_EXCL))\n"
        f"except FileExistsError:\n    while not os.path.exists({str(noticed)!r}):\n        time.sleep(0.005)\n"
        f"    {SERVES.replace(chr(10), chr(10) + '    ')}\n"
        f"else:\n    {READY}    {leaves.replace(chr(10), chr(10) + '    ')}\n"
    )

    def is_gone() -> bool:
        members = it.group._members
        return it.group._numbers == 2 and (len(members) == 1 or any(member.leaving for member in members))

    async with supervised(tmp_path, does) as it, asyncio.TaskGroup() as group:
        starting = group.create_task(it.group.start())
        await eventually(is_gone)
        noticed.touch()
        assert await starting == "a worker ended before all were ready"
        await eventually(lambda: not it.group._members)
