"""An empty database of each kind."""

from __future__ import annotations

import pytest

from gateway.database.opening import open_database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").new_database()
    return f"sqlite:///{tmp_path}/data/tokenweir.db"


@pytest.fixture
def engine(url):
    engine = open_database(url)
    yield engine
    engine.dispose()
