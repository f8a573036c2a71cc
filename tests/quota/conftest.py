"""The stores under test: each one that keeps the rules of ``gateway.core.quota.holds`` is added to STORES."""

from __future__ import annotations

from functools import partial
from itertools import cycle
from uuid import uuid4

import pytest

from gateway.core.quota.holds import ONE_REQUEST, Checkpoint, Reservation
from gateway.quota.memory import MemoryHoldStore
from gateway.quota.redis_link import RedisLink
from gateway.quota.redis_store import Clocks, RedisHoldStore
from gateway.tasks import TaskOwner
from tests.support.redis import MISSING, SERVER, redis_server

REALM = "acme"


class Clock:
    """A store's clock: what it says is what the test says."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now


def memory(clock, **bounds):
    return MemoryHoldStore(monotonic=clock, unix=clock, **bounds)


@pytest.fixture(scope="session")
def redis(tmp_path_factory):
    """Return a Redis of this process' tests; each store in it has keys of its own."""
    if SERVER is None:
        pytest.skip(MISSING)
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own_redis(tmp_path):
    """Return a server that a test may do anything to."""
    if SERVER is None:
        pytest.skip(MISSING)
    with redis_server(tmp_path) as server:
        yield server


def in_redis(server, clock, **bounds):
    return _of_process(server, uuid4().hex, Clocks(clock, clock), bounds)


class Processes:
    """Several processes on one Redis, whose own clocks are far apart; each operation is another one's."""

    def __init__(self, server, clock, **bounds):
        prefix = uuid4().hex
        skews = (0.0, 40 * 86_400.0, -3 * 86_400.0)
        clocks = [Clocks(lambda skew=skew: clock.now + skew, clock) for skew in skews]
        self.stores = [_of_process(server, prefix, each, bounds) for each in clocks]
        self._turns = cycle(self.stores)

    def __getattr__(self, operation):
        return getattr(next(self._turns), operation)


def _of_process(server, prefix, clocks, bounds):
    owner = TaskOwner(lambda error: pytest.fail(repr(error)))
    return RedisHoldStore(RedisLink(server.url, prefix=prefix), owner.spawn, clocks=clocks, **bounds)


@pytest.fixture
async def process(redis):
    """Return what makes the store of one more process; all of them share their keys."""
    prefix, links = uuid4().hex, []
    owner = TaskOwner(lambda error: pytest.fail(repr(error)))

    def make(clocks=None, most=16, **options):
        links.append(RedisLink(redis.url, most, prefix))
        return RedisHoldStore(links[-1], owner.spawn, clocks=clocks, **options)

    def lose():
        """Take from the store all that its processes have in it."""
        for key in redis.ask("KEYS", f"*{prefix}:*"):
            redis.ask("DEL", key)

    make.prefix, make.lose = prefix, lose
    yield make
    await owner.close()
    for link in links:
        await link.close()


async def close(store):
    """Close a store's connections, if it has any."""
    for each in store.stores if isinstance(store, Processes) else [store]:
        if isinstance(each, RedisHoldStore):
            await each._link.close()


STORES = {"memory": None, "redis": in_redis, "processes": Processes}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=STORES)
def make_store(request):
    """Return what makes an empty store with a clock."""
    make = STORES[request.param]
    return memory if make is None else partial(make, request.getfixturevalue("redis"))


@pytest.fixture
async def store(make_store, clock):
    made = make_store(clock)
    yield made
    await close(made)


class At:
    """A store, spoken to at times that a test says; all of it is about one tenant."""

    def __init__(self, store, clock):
        self.store = store
        self.clock = clock
        self.asked = {}

    def of(self, request_id):
        return self.asked.get(request_id, Reservation(request_id, (), realm=REALM))

    async def reserve(self, request_id, now, *limits, **amounts):
        self.clock.now = now
        self.asked[request_id] = Reservation(request_id, limits, **amounts, realm=REALM)
        return await self.store.reserve(self.asked[request_id])

    async def renew(self, ids, now, spent=ONE_REQUEST):
        self.clock.now = now
        return await self.store.renew([Checkpoint(self.of(request_id), spent) for request_id in ids])

    async def settle(self, request_id, now, used=ONE_REQUEST):
        self.clock.now = now
        return await self.store.settle(self.of(request_id), used)

    async def cancel(self, request_id, now):
        self.clock.now = now
        await self.store.cancel(self.of(request_id))

    async def remaining(self, now, *limits):
        self.clock.now = now
        return [state.remaining for state in await self.store.look(REALM, limits)]

    async def standing(self, now, *limits):
        self.clock.now = now
        return [(state.used, state.held) for state in await self.store.look(REALM, limits)]


@pytest.fixture
def at(store, clock):
    return At(store, clock)
