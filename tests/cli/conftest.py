"""A ledger for the commands that read it, in each kind of database."""

from __future__ import annotations

import os

import pytest

from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.ledger.statements import merge


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request, tmp_path, monkeypatch):
    """Have commands find an empty database, and an empty working directory."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TOKENWEIR_")]:
        monkeypatch.delenv(name)
    url = f"sqlite:///{tmp_path}/data/tokenweir.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
        monkeypatch.setenv("TOKENWEIR_DATABASE_URL", url)
    return url


@pytest.fixture
def write(ledger_url):
    """Write rows as a gateway does."""
    engine = open_database(ledger_url)

    def written(*rows):
        with transaction(engine, "add") as connection:
            merge(connection, rows)

    yield written
    engine.dispose()
