"""The stores under test: each one that keeps the rules of ``gateway.core.quota.holds`` is added to STORES."""

from __future__ import annotations

import pytest

from gateway.quota.memory import MemoryHoldStore

STORES = {"memory": MemoryHoldStore}


@pytest.fixture(params=STORES)
def make_store(request):
    """Return what makes an empty store."""
    return STORES[request.param]


@pytest.fixture
def store(make_store):
    return make_store()
