"""What ``database_url`` may be, and what a refusal shows of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.database import address
from gateway.database.address import SqliteFile, parse_address
from gateway.database.errors import Refused


def test_a_sqlite_file_is_found_from_wherever_the_program_was_started(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert parse_address("sqlite:///data/x.db") == SqliteFile(tmp_path / "data" / "x.db")
    assert parse_address("sqlite:////srv/x.db") == SqliteFile(Path("/srv/x.db"))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_postgresql_database_is_reached_by_one_driver_and_named_without_its_password(scheme):
    found = parse_address(f"{scheme}://user:secret@db.example:6432/name?sslmode=require")
    assert found.url.drivername == "postgresql+psycopg"
    assert (found.url.password, found.url.port, found.url.query) == ("secret", 6432, {"sslmode": "require"})
    assert str(found) == "name on db.example"
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("url", "name"),
    [("postgresql:///name?host=/run/postgresql", "name on /run/postgresql"), ("postgresql:///n", "n on this machine")],
)
def test_a_postgresql_database_behind_a_socket_is_named_by_it(url, name):
    assert str(parse_address(url)) == name


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://u:secret@db/x", "of type mysql, which is not supported; allowed: a SQLite file"),
        ("postgresql+asyncpg://u:secret@db/x", r"of type postgresql\+asyncpg, which is not supported; allowed: "),
        ("postgresql://u:secret@db", "names no database; allowed: .* or a PostgreSQL database, as in postgresql://"),
        ("postgresql://u:secret@db:secret/x", "is not a URL; allowed: "),
        ("sqlite://", "names no file; allowed: "),
        ("sqlite:///:memory:", "names no file; allowed: "),
        ("data/tokenweir.db", "is not a URL; allowed: a SQLite file, as in sqlite:///"),
    ],
)
def test_an_address_that_is_neither_is_refused_without_its_password(url, why):
    with pytest.raises(Refused, match=why) as refused:
        parse_address(url)
    assert "secret" not in str(refused.value)


def test_without_its_driver_a_postgresql_database_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(address, "find_spec", lambda _: None)
    with pytest.raises(Refused, match=r"pip install 'tokenweir\[postgresql\]'"):
        parse_address("postgresql://u:secret@db/x")
    assert parse_address("sqlite:////srv/x.db")
