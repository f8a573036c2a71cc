"""How a store that was lost is filled again: by one, however many notice, and without anybody waiting long."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.core.errors import StoreUnavailable
from gateway.core.quota.holds import Held, Reservation
from gateway.core.quota.limits import AppliedLimit
from gateway.quota.failure import StoreIncomplete
from gateway.quota.redis_rebuild import Rebuilt
from tests.support.observed import eventually

REALM = "acme"


def budget(n=0, amount=1000):
    return AppliedLimit(f"user:acme:{n}:usd:day", "user-usd-per-day", "user", "usd", amount, None, "day")


def asking(request_id, realm=REALM):
    return Reservation(request_id, (budget(),), {"usd": 100}, realm=realm)


async def answered(ask):
    """Return the first answer that is one."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await ask()
            except StoreIncomplete:
                continue


async def admitted(store, asked):
    return await answered(lambda: store.reserve(asked))


async def test_ten_thousand_counters_are_loaded_before_the_first_is_asked_for(process):
    async def rebuild(*_):
        return Rebuilt({budget(n).key: n for n in range(10_000)})

    store = process(rebuild=rebuild)
    limits = tuple(budget(n) for n in (0, 499, 500, 9_999))
    states = await answered(lambda: store.look(REALM, limits))
    assert [state.used for state in states] == [0, 499, 500, 9_999]


async def test_whoever_waits_for_books_that_are_slow_is_told_so_and_other_tenants_do_not_notice(process):
    begin = asyncio.Event()

    async def rebuild(realm, _):
        if realm == REALM:
            await begin.wait()
        return Rebuilt({budget().key: 950})

    store = process(rebuild=rebuild)
    with pytest.raises(StoreIncomplete) as told:
        await store.reserve(asking("a"))
    assert "being loaded" in told.value.detail
    assert not isinstance(await store.reserve(asking("a", "other")), Held)
    begin.set()
    assert (await admitted(store, asking("a"))).spent


async def test_without_the_books_nobody_is_let_in_and_they_are_not_asked_by_each_request(process):
    asked = []

    async def rebuild(*_):
        asked.append(1)
        if len(asked) == 1:
            raise OSError("the books are closed")
        return Rebuilt({})

    store = process(rebuild=rebuild)
    for n in range(5):
        with pytest.raises(StoreUnavailable):
            await store.reserve(asking(f"r{n}"))
    assert isinstance(await admitted(store, asking("b")), Held)
    assert len(asked) == 2


async def test_another_process_takes_over_from_one_that_died_while_it_filled(redis, process):
    prefix = f"{{{process.prefix}:{REALM}}}:"
    redis.ask("SET", f"{prefix}lock", "somebody who died", "PX", 300)
    assert isinstance(await admitted(process(), asking("a")), Held)


async def test_one_that_lost_its_turn_does_not_overwrite_what_the_next_one_loaded(redis, process):
    prefix = f"{{{process.prefix}:{REALM}}}:"
    slow, going = asyncio.Event(), asyncio.Event()

    async def late(*_):
        going.set()
        await slow.wait()
        return Rebuilt({budget().key: 1})

    async def rebuild(*_):
        return Rebuilt({budget().key: 500})

    first = process(rebuild=late)
    with pytest.raises(StoreIncomplete):
        await first.reserve(asking("a"))
    await going.wait()
    redis.ask("DEL", f"{prefix}lock")
    second = process(rebuild=rebuild)
    await second.reserve(asking("b"))
    slow.set()
    await eventually(lambda: not first._rebuilder._running)
    await admitted(first, asking("a"))
    (state,) = await second.look(REALM, (budget(),))
    assert (state.used, state.held) == (500, 200)


async def test_one_that_lost_its_turn_is_not_heard_while_the_next_one_loads(redis, process):
    turns = [asyncio.Event(), asyncio.Event()]

    def books(n, used):
        async def rebuild(*_):
            await turns[n].wait()
            return Rebuilt({budget().key: used})

        return process(rebuild=rebuild)

    first, second = books(0, 1), books(1, 500)
    with pytest.raises(StoreIncomplete):
        await first.look(REALM, (budget(),))
    redis.ask("DEL", f"{{{process.prefix}:{REALM}}}:lock")
    with pytest.raises(StoreIncomplete):
        await second.look(REALM, (budget(),))
    turns[0].set()
    for _ in range(20):
        await second.ping()  # the first one says what it has meanwhile
    turns[1].set()
    (state,) = await answered(lambda: second.look(REALM, (budget(),)))
    assert state.used == 500


async def test_what_ended_before_the_books_were_read_is_not_counted_again_and_what_ended_later_is(process):
    """All run when the store is lost, and are settled when it is back."""

    async def rebuild(*_):
        return Rebuilt({budget().key: 30}, until=1000.0)

    store = process(rebuild=rebuild)
    ended = {"before": 999.0, "at once": 1000.0, "after": 1000.5, "not in the books": None}
    for request_id in ended:
        await admitted(store, asking(request_id))
    process.lose()
    for request_id, at in ended.items():
        await answered(lambda request_id=request_id, at=at: store.settle(asking(request_id), {"usd": 100}, at))
    (state,) = await store.look(REALM, (budget(),))
    assert (state.used, state.held) == (230, 0)
    assert await store.settle(asking("before"), {"usd": 100}, 2000.0) == ()
    assert (await store.look(REALM, (budget(),)))[0].used == 230


async def test_books_are_told_since_when_the_store_knows_anything(process):
    told = []

    async def rebuild(realm, begun):
        told.append((realm, begun))
        return Rebuilt({})

    first, second = process(rebuild=rebuild), process(rebuild=rebuild)
    before = time.time()
    await admitted(first, asking("a", "one"))
    await admitted(second, asking("b", "two"))
    assert before <= told[0][1] <= time.time()
    assert told == [("one", told[0][1]), ("two", told[0][1])]
    process.lose()
    await admitted(first, asking("c", "two"))
    assert told[2][1] > told[0][1]
