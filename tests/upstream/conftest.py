"""Every test here runs on both event loops: asyncio's, and uvloop, which the gateway is served on."""

from __future__ import annotations

import asyncio
import gc

import pytest
import uvloop

from gateway.tasks import TaskOwner
from gateway.upstream.clouds import CloudUpstream
from gateway.upstream.settings import TransportSettings, UpstreamSettings
from tests.support.upstreams import Spawned


def pytest_asyncio_loop_factories(config, item):
    """Return the loops, by their names in a test's id."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def nothing_left():
    """After each test: no socket and no task is left for the garbage collector to warn of."""
    gc.freeze()  # what was there before is not looked through again, which takes a second with all tests in memory
    yield
    gc.collect()


@pytest.fixture
async def spawned():
    """Start tasks; at the end none that was started may be unfinished or have failed."""
    failures: list[BaseException] = []
    owner = Spawned(TaskOwner(failures.append))
    yield owner
    await owner.close()
    assert not failures


@pytest.fixture
def opened(spawned):
    def opened(settings: dict[str, object], **transport: object) -> CloudUpstream:
        return CloudUpstream(UpstreamSettings.model_validate(settings), TransportSettings(**transport), spawned)

    return opened
