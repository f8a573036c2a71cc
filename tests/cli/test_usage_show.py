"""How a request is shown."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gateway.cli.usage import usage
from gateway.database.opening import open_database
from gateway.ledger.books import Books
from gateway.ledger.rows import done_row, open_row
from tests.ledger.conftest import NOON, admitted, checkpoint, completed


def run(*words):
    return CliRunner().invoke(usage, ["show", *words])


def test_a_request_that_ended_is_shown_whole(write):
    write(done_row(admitted("r1", end_user="f00d"), completed()))
    assert run("r1").stdout.splitlines() == [
        "request_id              r1",
        "upstream_request_id     req_1",
        "tenant                  shop",
        "key_id                  k1",
        "end_user                f00d",
        "asked",
        "  route                 /api/chat/stream",
        "  dialect               chat",
        "  stream                yes",
        "  model                 claude-opus-4-5",
        "phases",
        "  state                 ended",
        "  received_at           2025-11-24T16:00:00.000Z",
        "  first_token_at        2025-11-24T16:00:01.000Z  (after 1.000 s)",
        "  ended_at              2025-11-24T16:00:05.000Z  (after 5.000 s)",
        "  worker_id             w1",
        "  day                   2025-11-24",
        "outcome",
        "  kind                  done",
        "  status                200",
        "  stop_reason           end_turn",
        "  upstream              anthropic",
        "  attempts              1",
        "  model_answered        claude-opus-4-5-20251101",
        "used",
        "  input_tokens          90",
        "  output_tokens         20",
        "  thinking_tokens       0",
        "  cache_read_tokens     0",
        "  cache_write_5m_tokens 0",
        "  cache_write_1h_tokens 0",
        "  web_search_requests   0",
        "  estimated             no",
        "  cost_usd              0.000950000",
        "  priced                known",
    ]


def test_a_request_that_runs_shows_what_is_known_by_now(write):
    write(open_row(admitted("r1", key_id=""), checkpoint(NOON + 2, output=3)))
    shown = json.loads(run("r1", "--json").stdout)
    known = ("state", "checkpoint_at", "lease_until", "ended_at", "kind", "key_id", "output_tokens", "estimated")
    assert [shown[name] for name in known] == [
        "running", "2025-11-24T16:00:02.000Z", "2025-11-24T16:01:02.000Z", None, None, None, 3, True
    ]  # fmt: skip
    lines = run("r1").stdout
    assert "  lease_until           2025-11-24T16:01:02.000Z\n" in lines
    assert "ended_at" not in lines
    assert "key_id" not in lines


def test_a_request_that_was_ended_for_its_worker_says_so(write, ledger_url):
    write(open_row(admitted("r1"), checkpoint()))
    engine = open_database(ledger_url)
    Books(engine).claim(NOON + 61)
    engine.dispose()
    shown = run("r1").stdout
    assert "  state                 ended for its worker, which is gone\n" in shown
    assert "  error_code            worker_lost\n" in shown


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_request_shows_no_column_that_is_only_for_the_ledger(write, words):
    write(done_row(admitted("r1"), completed()))
    assert "rolled" not in run("r1", *words).stdout
