"""From passes to the table: medians, what is added, ratios, bars, and what makes a number worthless."""

from tools.bench import report
from tools.bench.measure import quantile
from tools.bench.scenarios import QUANTITIES, SCENARIOS, SUBJECTS, Quantity

CPU = Quantity("S1", "us_per_token", "CPU per token", "µs", bar=1.8, relative=True)
ADDED = Quantity("S0", "ttft_p50_ms", "added", "ms", 2, minus="direct", bar=0.5)


def run(harness: float = 0.5, problems: dict | None = None, **numbers: float) -> dict:
    return {"harness": harness, "problems": problems or {}, **numbers}


def test_a_number_is_the_median_of_the_passes_that_have_it():
    results = {("S1", "chat"): [run(us_per_token=30.0), run(us_per_token=34.0), run(us_per_token=90.0), run()]}
    assert report.median(results, "S1", "chat", "us_per_token") == 34.0
    assert report.median(results, "S1", "nginx", "us_per_token") is None


def test_what_a_server_adds_is_its_number_less_that_without_it():
    results = {("S0", "direct"): [run(ttft_p50_ms=0.1)], ("S0", "chat"): [run(ttft_p50_ms=0.5)]}
    assert report.value(results, ADDED, "chat") == 0.4
    assert report.value({("S0", "chat"): [run(ttft_p50_ms=0.5)]}, ADDED, "chat") is None


def test_a_row_has_the_ratio_to_nginx_and_a_mark_where_the_bar_is_exceeded():
    results = {("S1", "nginx"): [run(us_per_token=20.0)], ("S1", "chat"): [run(us_per_token=38.0)]}
    assert report.row(results, CPU) == (
        "S1",
        "CPU per token",
        "µs",
        "20.0",
        "38.0 !",
        "1.90",
        "1.8 x",
        "-",
        "-",
        "0.50",
    )
    assert " !" not in report.table({**results, ("S1", "chat"): [run(us_per_token=36.0)]})


def test_a_bar_needs_what_it_is_relative_to():
    assert not report.exceeds(CPU, 99.0, None)
    assert report.exceeds(ADDED, 0.6, None)
    assert report.ratio(1.0, 0.0) is None


def test_only_what_was_measured_has_a_row():
    lines = report.table({("S4", "chat"): [run(ms_per_request=0.3)]}).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("S4")


def test_two_workers_are_compared_with_one_and_the_supervisor_shares_nothing():
    two = run(us_per_token=33.0, sockets_of_processes=[3, 120, 80])
    said = report.workers({("W2", "workers"): [two], ("S1", "chat"): [run(us_per_token=30.0)]})
    assert "1.10 times" in said[0]
    assert "40% and 60%" in said[1]
    assert report.workers({}) == []


def test_answers_that_were_not_whole_and_a_saturated_harness_are_told():
    results = {
        ("S4", "chat"): [run(harness=0.5), run(harness=0.96, problems={"2 tokens are missing": 3})],
        ("S6a", "chat"): [run(harness=0.99)],
    }
    assert report.problems(results) == ["S4 chat: 3 times: 2 tokens are missing"]
    (warning,) = report.warnings(results)
    assert warning.startswith("S4 chat")


def test_a_quantile_is_a_value_that_was_measured():
    assert quantile([], 0.5) is None
    assert quantile([3, 1, 2], 0.5) == 2.0
    assert quantile(list(range(100)), 0.99) == 99.0


def test_the_tables_fit_together():
    for scenario in SCENARIOS.values():
        assert set(scenario.subjects) <= set(SUBJECTS)
    for quantity in QUANTITIES:
        assert quantity.scenario in SCENARIOS
        assert quantity.minus in {"", *SCENARIOS[quantity.scenario].subjects}
