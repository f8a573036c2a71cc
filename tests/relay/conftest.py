"""The relay runs on virtual time here, between a client and a source that do as they are told."""

from __future__ import annotations

from tests.support.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories(config, item):
    """Return the one loop."""
    return {"virtual": VirtualTimeLoop}
