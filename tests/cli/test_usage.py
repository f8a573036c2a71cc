"""``tokenweir usage`` as an operator types it."""

from __future__ import annotations

import csv
import io
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.keystore import opened
from gateway.cli.usage import usage
from gateway.core.keys import Peppers
from gateway.identity.pepper import load_peppers
from gateway.identity.pseudonym import Pseudonyms
from gateway.ledger.journal import Journal
from gateway.ledger.rows import Answer, done_row, open_row
from tests.ledger.conftest import DAY, admitted, checkpoint, completed

NEXT = "2025-11-25"
SPAN = ("--from", DAY, "--to", NEXT)

pytestmark = pytest.mark.usefixtures("ledger_url")


def run(*words):
    return CliRunner().invoke(usage, words)


def printed(*words):
    result = run(*words)
    assert (result.stderr, result.exit_code) == ("", 0)
    return json.loads(result.stdout)


def done(request_id, output=20, **given):
    return done_row(admitted(request_id, **given), completed(output=output))


def audited():
    with opened(None, None) as (_config, store):
        return [(row.action, row.target, row.details) for row in store.audit()]


@pytest.fixture
def some(write):
    write(
        done("a"),
        done("b", output=1_000_000, day=NEXT, tenant="bank", key_id=""),
        done("c", day=NEXT, end_user=Pseudonyms(load_peppers(Path("data"), None))("ann")),
        open_row(admitted("d"), checkpoint()),
    )


def test_a_table_has_a_line_for_each_day_and_the_total(some):
    assert run(*SPAN).stdout.splitlines() == [
        "DAY         REQUESTS  INPUT     OUTPUT  CACHE READ  CACHE WRITE  SEARCHES        USD",
        "2025-11-24         1     90         20           0            0         0   0.000950",
        "2025-11-25         2    180  1,000,020           0            0         0  25.001400",
        "TOTAL              3    270  1,000,040           0            0         0  25.002350",
    ]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("model", {"claude-opus-4-5-20251101": 3}),
        ("key", {None: 1, "k1": 2}),
        ("tenant", {"bank": 1, "shop": 2}),
        ("day", {DAY: 1, NEXT: 2}),
    ],
)
def test_programs_get_the_sums_by_what_they_ask_for_with_every_digit(some, by, expected):
    shown = printed(*SPAN, "--by", by, "--json")
    assert {one[by]: one["requests"] for one in shown["sums"]} == expected
    assert (shown["from"], shown["to"], shown["by"], shown["time_zone"]) == (DAY, NEXT, by, "UTC")
    assert shown["total"] == {
        "requests": 3, "input_tokens": 270, "output_tokens": 1_000_040, "thinking_tokens": 0, "cache_read_tokens": 0,
        "cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0, "web_search_requests": 0,
        "cost_nano_usd": 25_002_350_000, "cost_usd": "25.002350000",
    }  # fmt: skip


def test_spreadsheets_get_a_line_for_each_sum_and_no_total(some):
    rows = list(csv.DictReader(run(*SPAN, "--csv").stdout.splitlines()))
    assert [(row["day"], row["requests"], row["cost_usd"]) for row in rows] == [
        (DAY, "1", "0.000950000"), (NEXT, "2", "25.001400000")
    ]  # fmt: skip
    assert run("--csv", "--from", "2020-01-01", "--to", "2020-01-02").stdout.count("\n") == 1


def test_a_user_is_asked_for_by_the_applications_own_name_and_shown_by_a_pseudonym(some):
    [found] = printed(*SPAN, "--by", "user", "--user", "ann", "--json")["sums"]
    assert (found["requests"], len(found["user"])) == (1, 32)
    assert printed(*SPAN, "--user", "bob", "--json")["sums"] == []
    assert printed(*SPAN, "--user", "-", "--json")["total"]["requests"] == 2


def test_sums_are_of_what_was_asked_for(some):
    with opened(None, None) as (_config, store):
        store.create_tenant("shop")
        row, key = store.create_key("shop", Peppers.parse("a-pepper-of-some-length"))
    assert printed(*SPAN, "--tenant", "shop", "--json")["total"]["requests"] == 2
    assert printed(*SPAN, "--model", "claude-opus-4-5-20251101", "--json")["total"]["requests"] == 3
    assert printed(*SPAN, "--model", "claude-opus-4-5", "--json")["total"]["requests"] == 0
    assert printed(*SPAN, "--key", "-", "--json")["total"]["requests"] == 1
    assert printed(*SPAN, "--key", row.id, "--json") == printed(*SPAN, "--key", key.text, "--json")
    assert printed("--to", NEXT, "--json")["from"] == "2025-11-01"


def test_this_month_is_the_one_of_the_limits_time_zone(write):
    zones = {"Pacific/Kiritimati": 14 * 3600, "Pacific/Pago_Pago": -11 * 3600}
    seen = set()
    for zone, offset in zones.items():
        Path("gateway.toml").write_text(f'[limits]\ntime_zone = "{zone}"\n', encoding="utf-8")
        before, shown, after = time.time(), printed("--json", "--config", "gateway.toml"), time.time()
        days = [datetime.fromtimestamp(moment + offset, UTC).strftime("%Y-%m-%d") for moment in (before, after)]
        assert shown["to"] in days
        assert (shown["from"], shown["time_zone"]) == (shown["to"][:8] + "01", zone)
        seen.add(shown["to"])
    assert len(seen) == 2  # they are 25 hours apart


def test_a_models_name_neither_steers_a_terminal_nor_is_a_formula(write):
    write(open_row(admitted("r1", model="=1+1\x1b[2J\n"), checkpoint()))
    write(done_row(admitted("r1"), completed(answer=Answer())))
    assert run(*SPAN, "--by", "model").stdout.splitlines()[1].startswith("=1+1\ufffd[2J\ufffd ")
    [row] = csv.DictReader(io.StringIO(run(*SPAN, "--by", "model", "--csv").stdout))
    assert row["model"] == "'=1+1\x1b[2J\n"
    assert "  model                 =1+1\ufffd[2J\ufffd\n" in run("show", "r1").stdout


def test_no_requests_at_all_leave_stdout_empty():
    result = run("--from", DAY, "--to", DAY)
    assert (result.stdout, result.exit_code) == ("", 0)
    assert result.stderr == f"note: no request of these ended from {DAY} to {DAY}\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--from", "2025-11-25", "--to", "2025-11-24"), "error: --from 2025-11-25 is after --to 2025-11-24\n"),
        (("--tenant", "nobody"), "error: there is no tenant 'nobody'; `tokenweir tenants list` shows them\n"),
        (("--key", "abcdefghijkl"), "error: there is no key abcdefghijkl; `tokenweir keys list` shows them\n"),
        (("prune", "--before", "9999-01-01"), "error: --before 9999-01-01 is after today, 2"),
        (("show", "nope"), "error: there is no request nope in the ledger: "),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr_with_exit_code_2(words, error):
    result = run(*words)
    assert (result.stdout, result.exit_code, result.stderr.count("\n")) == ("", 2, 1)
    assert result.stderr.startswith(error)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--from", "yesterday"), "'yesterday' is not a day: YYYY-MM-DD"),
        (("--from", "2025-02-30"), "'2025-02-30' is not a day: YYYY-MM-DD"),
        (("--csv", "--json"), "--csv or --json, not both"),
        (("--by", "week"), "'week' is not one of"),
    ],
)
def test_what_cannot_be_understood_is_answered_with_the_usage(words, error):
    result = run(*words)
    assert result.exit_code == 2
    assert error in result.stderr


def test_pruning_keeps_the_sums_and_says_what_it_did(some, write):
    before = printed(*SPAN, "--json")
    result = run("prune", "--before", NEXT, "--yes")
    assert result.stdout == f"3 requests were added to the sums of their days, 1 from before {NEXT} deleted\n"
    assert printed(*SPAN, "--json") == before
    assert [run("show", request_id).exit_code for request_id in "abcd"] == [2, 0, 0, 0]
    assert audited() == [("usage.prune", NEXT, {"requests": 1})]
    write(done("e"))
    assert run("prune", "--before", DAY, "--yes").stdout.startswith("1 requests were added")
    assert len(audited()) == 1


def test_pruning_asks_first(some):
    result = CliRunner().invoke(usage, ["prune", "--before", NEXT], input="n\n")
    assert result.exit_code == 1
    assert f"Delete all requests before {NEXT}, and keep their sums?" in result.stderr
    assert run("show", "a").exit_code == 0
    assert CliRunner().invoke(usage, ["prune", "--before", NEXT], input="y\n").exit_code == 0
    assert run("show", "a").exit_code == 2


def test_pruning_takes_the_journals_of_dead_processes_first_and_waits_for_those_of_living_ones(some):
    journal = Journal(Path("data/journal"), "w1")
    journal.append([done("a"), done("late")])
    result = run("prune", "--before", NEXT, "--yes")
    assert result.stderr.startswith("error: 1 journals wait for running gateways to hand them over")
    assert run("show", "a").exit_code == 0
    journal.close()
    assert ", 2 from before " in run("prune", "--before", NEXT, "--yes").stdout
    assert printed("--from", DAY, "--to", DAY, "--json")["total"]["requests"] == 2
