"""Recording rules: what alerts and dashboards ask again and again.

Named ``level:metric:operations`` (https://prometheus.io/docs/practices/rules/). The window in a name is the nominal one,
also where a drill scales it.
"""

from __future__ import annotations

from typing import NamedTuple

from tools.monitoring.expressions import failed, late, quantile, rate, served, streams
from tools.monitoring.objectives import AVAILABILITY, FIRST_TOKEN, PERIOD, WINDOWS, Objective

_SLOW = ("6h", "1d", "3d")  # windows that no minute changes much


class Record(NamedTuple):
    """A series that Prometheus makes."""

    name: str
    expr: str


def bad_ratio(objective: Objective, window: str) -> str:
    """Return the name of the share of bad requests."""
    return f"job:tokenweir_{objective.name}_bad:ratio_rate{window}"


def _ratios(windows: tuple[str, ...]) -> list[Record]:
    found = []
    for window in windows:
        bad, total = failed(window), f"({failed(window)} + {served(window)})"
        found.append(Record(bad_ratio(AVAILABILITY, window), f"{bad} / {total}"))
        found.append(Record(bad_ratio(FIRST_TOKEN, window), f"{late(window)} / {streams(window)}"))
    return found


def _counts() -> list[Record]:
    return [
        Record("job:tokenweir_availability_bad:rate5m", failed("5m")),
        Record("job:tokenweir_availability_all:rate5m", f"({failed('5m')} + {served('5m')})"),
        Record("job:tokenweir_first_token_bad:rate5m", late("5m")),
        Record("job:tokenweir_first_token_all:rate5m", streams("5m")),
    ]


def _budgets() -> list[Record]:
    """Return what is left of the budgets: from the rates of five minutes, because thirty days of raw series are many."""
    return [
        Record(
            f"job:tokenweir_{each.name}_budget_left:ratio",
            f"1 - sum_over_time(job:tokenweir_{each.name}_bad:rate5m[{PERIOD}])"
            f" / sum_over_time(job:tokenweir_{each.name}_all:rate5m[{PERIOD}]) / {each.budget}",
        )
        for each in (AVAILABILITY, FIRST_TOKEN)
    ]


def _dashboards() -> list[Record]:
    quantiles = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    first_token, lag = "tokenweir_time_to_first_token_seconds", "tokenweir_event_loop_lag_seconds"
    return [
        *(Record(f"job:{first_token}:{name}_5m", quantile(share, first_token, "5m")) for share, name in quantiles),
        Record(f"job_instance:{lag}:p99_5m", quantile(0.99, lag, "5m", by="job, instance")),
        Record("job_model:tokenweir_output_tokens:rate5m", rate("tokenweir_tokens_total", "5m", 'kind="output"', by="job, model")),
        Record("job_tenant:tokenweir_cost_usd:rate1h", rate("tokenweir_tenant_cost_usd_total", "1h", by="job, tenant")),
    ]  # fmt: skip


# Groups by name: how often they are evaluated (None: as Prometheus is told), and what is in them.
GROUPS: dict[str, tuple[str | None, list[Record]]] = {
    "tokenweir-objectives": (None, [*_counts(), *_ratios(tuple(each for each in WINDOWS if each not in _SLOW))]),
    "tokenweir-objectives-slow": ("1m", [*_ratios(_SLOW), *_budgets()]),
    "tokenweir-dashboards": (None, _dashboards()),
}
