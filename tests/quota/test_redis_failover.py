"""A Redis with a replica that takes over: what is connected stays where it was, and the address leads elsewhere."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gateway.core.quota.holds import Checkpoint, Held
from gateway.quota.redis_link import RedisLink
from gateway.quota.redis_store import RedisHoldStore
from gateway.tasks import TaskOwner
from tests.quota.test_redis_store import asking, budget, requests, standing, streams
from tests.support.observed import eventually
from tests.support.redis import MISSING, SERVER, redis_server
from tests.support.upstreams import refusing_port

LIMITS = budget(1000), streams(5), requests(9)


class Pair:
    """Two servers, the second a replica of the first, and one address for whichever leads."""

    def __init__(self, directory, stack):
        self._address = directory / "leader.sock"
        self.url = f"unix://{self._address}"
        self._ports = [refusing_port(), refusing_port()]
        self._servers = []
        for port in self._ports:
            (home := directory / str(port)).mkdir()
            self._servers.append(stack.enter_context(redis_server(home, "--port", str(port))))
        self._lead(0)

    def _lead(self, number):
        leader, follower = self._servers[number], self._servers[1 - number]
        leader.ask("REPLICAOF", "NO", "ONE")
        follower.ask("REPLICAOF", "127.0.0.1", self._ports[number])
        self._address.unlink(missing_ok=True)
        self._address.symlink_to(leader.socket)

    async def fail_over(self):
        """Have the replica lead, with all that it was told, and the other follow; it closes no connection."""
        await eventually(lambda: self._servers[0].ask("WAIT", 1, 1) == 1)
        self._lead(1)


@pytest.fixture
def pair(tmp_path):
    if SERVER is None:
        pytest.skip(MISSING)
    with ExitStack() as stack:
        yield Pair(tmp_path, stack)


@pytest.fixture
async def store(pair):
    owner = TaskOwner(lambda error: pytest.fail(repr(error)))
    link = RedisLink(pair.url)
    yield RedisHoldStore(link, owner.spawn)
    await owner.close()
    await link.close()


async def test_requests_go_on_at_the_replica_with_what_was_counted(pair, store):
    await store.reserve(asking("ended", *LIMITS, usd=300))
    await store.settle(asking("ended", *LIMITS), {"usd": 200, "requests": 1})
    await store.reserve(asking("runs", *LIMITS, usd=300))
    await pair.fail_over()
    assert isinstance(await store.reserve(asking("new", *LIMITS, usd=300)), Held)
    assert await standing(store, *LIMITS) == [(200, 600), (0, 2), (1, 2)]
    assert await store.renew([Checkpoint(asking("runs"), {"usd": 5})]) == frozenset()
    await store.settle(asking("runs", *LIMITS), {"usd": 100, "requests": 1})
    assert await standing(store, *LIMITS) == [(300, 300), (0, 1), (2, 1)]
