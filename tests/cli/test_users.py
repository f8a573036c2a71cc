"""``tokenweir users erase``, proven by looking for the user in everything that is kept."""

from __future__ import annotations

import json
import random
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner
from sqlalchemy import text

from gateway.cli.usage import usage
from gateway.cli.users import users
from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.identity.pepper import load_peppers
from gateway.identity.pseudonym import Pseudonyms
from gateway.ledger.journal import Journal
from gateway.ledger.rows import done_row, open_row
from gateway.ledger.tables import requests, usage_days
from gateway.log.canonical import FIELDS
from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings
from tests.ledger.conftest import admitted, checkpoint, completed
from tests.support.gateway import configuration, serving

NAME = "ada.lovelace@shop.example"


def run(*words, **given):
    return CliRunner().invoke(users, ["erase", *words], **given)


def pseudonym(name=NAME):
    return Pseudonyms(load_peppers(Path("data"), None))(name)


def rows_of(user, number, prefix):
    for index in range(number):
        request = admitted(f"{prefix}{index}", end_user=user, day=f"2025-11-{1 + index % 28:02}")
        yield open_row(request, checkpoint())
        yield done_row(request, completed())


def found_in(directory):
    """Say which files hold the name or the pseudonym."""
    wanted = [NAME.encode(), pseudonym().encode()]
    files = [path for path in directory.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if any(one in path.read_bytes() for one in wanted))


def found_in_database(url):
    """Say which tables hold the name or the pseudonym, in any column."""
    engine = open_database(url)
    tables = ["requests", "usage_days", "audit", "tenants", "keys"]
    quote = {"sqlite": "SELECT * FROM {}", "postgresql": "SELECT t::text FROM {} t"}[engine.dialect.name]
    with transaction(engine, "read") as connection:
        told = {table: str(connection.execute(text(quote.format(table))).all()) for table in tables}
    engine.dispose()
    return [table for table, rows in told.items() if NAME in rows or pseudonym() in rows]


def test_every_table_of_the_ledger_is_searched():
    columns = [column.name for table in (requests, usage_days) for column in table.columns]
    assert [name for name in columns if "user" in name] == ["end_user"] * 2


def test_a_user_is_in_nothing_that_is_kept_and_what_was_used_stays(write, ledger_url, tmp_path):
    chance = random.Random(1)
    others = [pseudonym(f"user{number}") for number in range(40)]
    rows = [row for user in [pseudonym(), *others] for row in rows_of(user, 30, user[:8])]
    chance.shuffle(rows)  # the database moves them about in its pages
    for start in range(0, len(rows), 100):
        write(*rows[start : start + 100])
    assert CliRunner().invoke(usage, ["prune", "--before", "2025-11-10", "--yes"]).exit_code == 0
    write(*rows_of(pseudonym(), 5, "later"))
    journal = Journal(tmp_path / "data" / "journal", "w1")
    journal.append(list(rows_of(pseudonym(), 5, "dead")))
    journal.close()
    asked = ("--from", "2025-11-01", "--to", "2025-11-30", "--json")
    assert set(found_in_database(ledger_url)) == {"requests", "usage_days"}
    result = run(NAME, "--yes")
    assert result.exit_code == 0
    changed, _, words = result.stdout.partition(" ")
    assert words == "rows of the ledger named this end user and do not any more\n"
    assert int(changed) > 30
    assert found_in_database(ledger_url) == []
    assert found_in(tmp_path) == []
    shown = json.loads(CliRunner().invoke(usage, asked).stdout)
    assert shown["total"]["requests"] == 41 * 30 + 10
    assert run(NAME, "--yes").stdout.startswith("0 rows")


async def test_no_log_line_holds_an_end_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not [name for name in FIELDS if "user" in name]
    at_once = SimulatorSettings(time_to_first_token=0, tokens_per_second=0, jitter=0)
    body = {"message": "Hello", "metadata": {"userId": NAME}}
    wire = {
        "model": "claude-haiku-4-5", "max_tokens": 9, "metadata": {"user_id": NAME},
        "messages": [{"role": "user", "content": "Hello"}],
    }  # fmt: skip
    plans = {"default": {"per_user": {"requests_per_minute": 1}}}
    async with await serve_simulator(at_once) as claude:
        (tmp_path / "data").mkdir()
        config = configuration(tmp_path / "data", claude.url, plans=plans, log={"level": "debug"})
        async with serving(config) as caller:
            statuses = [await _status(caller.post(*call)) for call in _calls(body, wire)]
    assert statuses == [200, 429, 429]
    log = (tmp_path / "data" / "log.jsonl").read_text(encoding="utf-8")
    assert log.count('"tenant":"acme"') >= 3
    assert "log.jsonl" not in found_in(tmp_path)


def _calls(body, wire):
    return [("/api/chat/stream", body), ("/api/chat/stream", body), ("/v1/messages", wire)]


async def _status(answering: aiohttp.client._RequestContextManager) -> int:
    async with answering as response:
        await response.read()
        return response.status


def test_erasing_asks_first_and_the_audit_does_not_say_whom(write, ledger_url):
    write(*rows_of(pseudonym(), 1, "r"))
    assert run(NAME, input="n\n").exit_code == 1
    assert found_in_database(ledger_url) == ["requests"]
    assert run(NAME, input="y\n").exit_code == 0
    engine = open_database(ledger_url)
    with transaction(engine, "read") as connection:
        assert connection.execute(text("SELECT action, target FROM audit")).all() == [("users.erase", "")]
    engine.dispose()


def test_what_could_not_be_erased_yet_is_said(write, ledger_url, tmp_path):
    write(*rows_of(pseudonym(), 1, "r"))
    journal = Journal(tmp_path / "data" / "journal", "w1")
    journal.append(list(rows_of(pseudonym(), 1, "living")))
    Path("gateway.toml").write_text("[keys]\nbusy_timeout = 0\n", encoding="utf-8")
    engine = open_database(ledger_url)
    with transaction(engine, "read") as connection:
        connection.execute(text("SELECT count(*) FROM requests")).all()
        result = run(NAME, "--yes", "--config", "gateway.toml")
    assert result.exit_code == 0
    assert "1 journals belong to running gateways" in result.stderr
    assert ("the database's files are in use" in result.stderr) == (engine.dialect.name == "sqlite")
    engine.dispose()
    journal.close()
    assert "run this again" not in run(NAME, "--yes").stderr
    assert found_in(tmp_path) == []


def test_a_journal_that_cannot_be_read_ends_the_command(write, tmp_path):
    directory = tmp_path / "data" / "journal"
    (directory / "w1-000000.journal").mkdir(parents=True)
    result = run(NAME, "--yes")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: the journals in {directory.relative_to(tmp_path)} cannot be read: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_another_pepper_than_that_of_the_keys_is_told(ledger_url, monkeypatch):
    from gateway.cli.keys import keys  # noqa: PLC0415
    from gateway.cli.tenants import tenants  # noqa: PLC0415

    assert CliRunner().invoke(tenants, ["create", "shop"]).exit_code == 0
    assert CliRunner().invoke(keys, ["create", "--tenant", "shop"]).exit_code == 0
    monkeypatch.setenv("TOKENWEIR_KEY_PEPPER", "another-pepper-0123456789")
    assert "end users of another pepper are not found" in run(NAME, "--yes").stderr
