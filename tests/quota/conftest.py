"""The stores under test: each one that keeps the rules of ``gateway.core.quota.holds`` is added to STORES."""

from __future__ import annotations

import pytest

from gateway.core.quota.holds import ONE_REQUEST, Reservation
from gateway.quota.memory import MemoryHoldStore


class Clock:
    """A store's clock: what it says is what the test says."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now


def memory(clock, **bounds):
    return MemoryHoldStore(monotonic=clock, unix=clock, **bounds)


STORES = {"memory": memory}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=STORES)
def make_store(request):
    """Return what makes an empty store with a clock."""
    return STORES[request.param]


@pytest.fixture
def store(make_store, clock):
    return make_store(clock)


class At:
    """A store, spoken to at times that a test says."""

    def __init__(self, store, clock):
        self.store = store
        self.clock = clock

    async def reserve(self, request_id, now, *limits, **amounts):
        self.clock.now = now
        return await self.store.reserve(Reservation(request_id, limits, **amounts))

    async def renew(self, ids, now, spent=ONE_REQUEST):
        self.clock.now = now
        return await self.store.renew(dict.fromkeys(ids, spent))

    async def settle(self, request_id, now, used=ONE_REQUEST):
        self.clock.now = now
        return await self.store.settle(request_id, used)

    async def cancel(self, request_id, now):
        self.clock.now = now
        await self.store.cancel(request_id)

    async def remaining(self, now, *limits):
        self.clock.now = now
        return [state.remaining for state in await self.store.look(limits)]

    async def standing(self, now, *limits):
        self.clock.now = now
        return [(state.used, state.held) for state in await self.store.look(limits)]


@pytest.fixture
def at(store, clock):
    return At(store, clock)
