"""The owner of tasks: it knows all of them, ends them, and tells of those that failed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.tasks import TaskOwner


@pytest.fixture
def failures():
    return []


@pytest.fixture
async def owner(failures):
    return TaskOwner(failures.append)


async def for_ever():
    await asyncio.get_running_loop().create_future()


async def test_a_task_runs_and_its_result_is_the_starters(owner, failures):
    async def answer():
        return 42

    assert await owner.spawn(answer()) == 42
    await owner.close()
    assert failures == []


async def test_a_failure_is_told_and_stops_no_other_task(owner, failures):
    async def broken():
        raise ZeroDivisionError

    other = owner.spawn(for_ever())
    with suppress(ZeroDivisionError):
        await owner.spawn(broken())
    await asyncio.sleep(0)
    assert [type(error) for error in failures] == [ZeroDivisionError]
    assert not other.done()
    await owner.close()


async def test_closing_cancels_what_still_runs_and_waits_for_its_end(owner, failures):
    ended = []

    async def tidy():
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    task = owner.spawn(tidy())
    await asyncio.sleep(0)
    await owner.close()
    assert task.cancelled()
    assert ended == [True]
    assert failures == []


async def test_a_task_that_fails_while_it_is_cancelled_is_told(owner, failures):
    async def breaks():
        try:
            await for_ever()
        finally:
            raise ZeroDivisionError

    owner.spawn(breaks())
    await asyncio.sleep(0)
    await owner.close()
    assert [type(error) for error in failures] == [ZeroDivisionError]


async def test_what_a_task_starts_while_it_ends_is_ended_too(owner):
    started = []

    async def last_words():
        try:
            await for_ever()
        finally:
            started.append(owner.spawn(for_ever()))

    owner.spawn(last_words())
    await asyncio.sleep(0)
    await owner.close()
    assert started[0].cancelled()


async def test_a_task_that_is_over_is_let_go(owner):
    async def nothing():
        pass

    await owner.spawn(nothing())
    await asyncio.sleep(0)
    assert owner._tasks == set()
    await owner.close()
