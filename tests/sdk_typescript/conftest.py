"""Node with the SDK's package, for the tests of this directory."""

from __future__ import annotations

import pytest

from tests.support.node import require_node, require_packages


@pytest.fixture(scope="session")
def node_packages():
    """Node is new enough, and the locked packages are installed."""
    require_node()
    require_packages()
