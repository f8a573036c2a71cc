"""The dashboard *SLO*: budgets and how fast they burn."""

from __future__ import annotations

from tools.monitoring.kit import JOB, About, Panel, lines, number, query
from tools.monitoring.objectives import AVAILABILITY, BURNS, FIRST_TOKEN, FIRST_TOKEN_WITHIN, PERIOD, Objective
from tools.monitoring.recording import bad_ratio

_SECTIONS = {AVAILABILITY: "answers-fail", FIRST_TOKEN: "first-tokens-are-late"}
_BAD = {
    AVAILABILITY: "requests that failed by the gateway's fault or Claude's, of those that were answered or failed so",
    FIRST_TOKEN: f"streams whose first token came after {float(FIRST_TOKEN_WITHIN):g} s, of all that had one",
}


def _burn(objective: Objective, window: str) -> str:
    return f"{bad_ratio(objective, window)}{{{JOB}}} / {objective.budget}"


def _row(objective: Objective) -> list[Panel]:
    section, bad = _SECTIONS[objective], _BAD[objective]
    name = f"job:tokenweir_{objective.name}"
    windows = dict.fromkeys(window for burn in BURNS for window in (burn.long, burn.short))
    return [
        number(
            About(
                "Budget left", "percentunit",
                f"Of {objective.budget:.1%} in {PERIOD}: {bad}. Below a half ship nothing risky, at 0 the promise is broken.",
                section,
            ),
            query(f"{name}_budget_left:ratio{{{JOB}}}"), (0, "red"), (0.25, "orange"), (0.5, "green"), width=6,
        ),
        number(
            About(
                "Burn rate of the last hour", "none",
                "1 uses up the budget in exactly 30 days, 14.4 in two: somebody is paged then.", section,
            ),
            query(_burn(objective, "1h")), (1, "orange"), (BURNS[0].rate, "red"), width=6,
        ),
        number(
            About("Bad, of the last hour", "percentunit", f"Share of {bad}.", section),
            query(f"{bad_ratio(objective, '1h')}{{{JOB}}}"), (objective.budget, "orange"), width=6,
        ),
        number(
            About("Promised", "percentunit", f"Share that has to be good over {PERIOD}: all but {bad}.", section),
            query(f"vector({objective.share})"), width=6,
        ),
        lines(
            About(
                "Burn rate by window", "none",
                "How many times too fast the budget goes. Alerts want a long window and its short one past a mark: "
                + ", ".join(f"{burn.long} and {burn.short} past {burn.rate:g} ({burn.severity})" for burn in BURNS)
                + ".",
                section,
            ),
            *(query(_burn(objective, window), window) for window in windows), width=12,
        ),
        lines(
            About("Good and bad", "reqps", f"Bad are {bad}. A high share of few requests is not worth a night.", section),
            query(f"{name}_all:rate5m{{{JOB}}}", "all"), query(f"{name}_bad:rate5m{{{JOB}}}", "bad"), width=6,
        ),
        lines(
            About(
                "Budget left over time", "percentunit", "A cliff was an outage, a slope is something that is not right.", section,
            ),
            query(f"{name}_budget_left:ratio{{{JOB}}}", "left"), width=6,
        ),
    ]  # fmt: skip


ROWS: dict[str, list[Panel]] = {each.title: _row(each) for each in (AVAILABILITY, FIRST_TOKEN)}
