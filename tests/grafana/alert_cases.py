"""For each alert: series with which it fires, and it alone; and series beside them with which nothing does.

Values are Prometheus' notation for tests, one a minute: ``0+10x60`` begins at 0 and grows by 10, sixty times.
"""

from __future__ import annotations

from typing import NamedTuple

REQUESTS = 'tokenweir_requests_total{job="tokenweir",instance="a",kind="done",route="/api/chat/stream"}'
INSTANCE = 'job="tokenweir",instance="a"'


class Case(NamedTuple):
    """One alert.

    Attributes:
        alert: Its name.
        minutes: When to look.
        fires: Series by name, with values.
        quiet: Those that are otherwise where it must not fire.
    """

    alert: str
    minutes: int
    fires: dict[str, str]
    quiet: dict[str, str]


def _errors(origin: str, code: str) -> str:
    return f'tokenweir_errors_total{{{INSTANCE},origin="{origin}",code="{code}"}}'


def _one(name: str, *labels: str) -> str:
    return f"{name}{{{','.join((INSTANCE, *labels))}}}"


def _bucket(name: str, le: str) -> str:
    return _one(f"{name}_bucket", f'le="{le}"')


_FIRST = "tokenweir_time_to_first_token_seconds"
_SPEED = "tokenweir_output_tokens_per_second"
_LAG = "tokenweir_event_loop_lag_seconds"
_STORE = "tokenweir_limit_store_seconds"
_GROWS, _HELD = "0x5 1x30", "1x35"

CASES = (
    Case(
        "TokenweirAnswersFail", 70,
        {REQUESTS: "0+100x80", _errors("gateway", "internal_error"): "0+30x80"},
        # What callers do wrong, and what Claude says to that, is no failure.
        {_errors("gateway", "internal_error"): "0x80", _errors("client", "invalid_request"): "0+30x80",
         _errors("upstream", "upstream_invalid_request_error"): "0+30x80"},
    ),
    Case(
        "TokenweirAnswersFailSlowly", 390,
        {REQUESTS: "0+100x400", _errors("gateway", "internal_error"): "0+1x400"},
        {REQUESTS: "0+500x400"},
    ),
    Case(
        "TokenweirFirstTokensLate", 70,
        {_one(f"{_FIRST}_count"): "0+100x80", _bucket(_FIRST, "5.0"): "0+20x80"},
        {_bucket(_FIRST, "5.0"): "0+98x80"},
    ),
    Case(
        "TokenweirFirstTokensLateSlowly", 390,
        {_one(f"{_FIRST}_count"): "0+100x400", _bucket(_FIRST, "5.0"): "0+90x400"},
        {_bucket(_FIRST, "5.0"): "0+98x400"},
    ),
    Case(
        "TokenweirStreamsSlow", 30,
        {_one(f"{_SPEED}_count"): "0+100x40", _bucket(_SPEED, "5.0"): "0+50x40"},
        {_bucket(_SPEED, "5.0"): "0+10x40"},
    ),
    Case(
        "TokenweirUpstreamFails", 30,
        {REQUESTS: "0+100x40", _one("tokenweir_upstream_retries_total", 'code="upstream_overloaded_error"'): "0+20x40"},
        {_one("tokenweir_upstream_retries_total", 'code="upstream_overloaded_error"'): "0+5x40"},
    ),
    Case(
        "TokenweirUpstreamThrottles", 30,
        {REQUESTS: "0+100x40", _one("tokenweir_upstream_retries_total", 'code="upstream_rate_limit_error"'): "0+5x40"},
        {_one("tokenweir_upstream_retries_total", 'code="upstream_rate_limit_error"'): "0+1x40"},
    ),
    Case(
        "TokenweirCredentialRefused", 10,
        {REQUESTS: "0+1000x40",
         _one("tokenweir_upstream_failovers_total", 'code="upstream_authentication_error"'): _GROWS},
        {_one("tokenweir_upstream_failovers_total", 'code="upstream_authentication_error"'): _HELD},
    ),
    Case(
        "TokenweirBreakerOpen", 10,
        {_one("tokenweir_upstream_breaker_state", 'upstream="claude"'): "0x5 2x30"},
        {_one("tokenweir_upstream_breaker_state", 'upstream="claude"'): "0x5 1x30"},
    ),
    Case("TokenweirNotScraped", 10, {_one("up"): "0x20"}, {_one("up"): "1x20"}),
    Case(
        "TokenweirEventLoopLags", 30,
        {_bucket(_LAG, "0.1"): "0+1x40", _bucket(_LAG, "0.5"): "0+100x40", _bucket(_LAG, "+Inf"): "0+100x40"},
        {_bucket(_LAG, "0.1"): "0+100x40"},
    ),
    Case(
        "TokenweirMemoryHigh", 20,
        {_one("process_resident_memory_bytes"): "4e9x30", _one("tokenweir_workers"): "1x30"},
        {_one("tokenweir_workers"): "4x30"},
    ),
    Case(
        "TokenweirFilesRunOut", 10,
        {_one("process_open_fds"): "900x20", _one("process_max_fds"): "1000x20", _one("tokenweir_build_info"): "1x20",
         # Other programs have alerts of their own.
         'process_open_fds{job="other",instance="b"}': "1000x20",
         'process_max_fds{job="other",instance="b"}': "1000x20"},
        {_one("process_open_fds"): "700x20"},
    ),
    Case(
        "TokenweirRequestsShed", 20,
        {_one("tokenweir_shed_total", 'bound="max_streams"'): "0+60x30"},
        {_one("tokenweir_shed_total", 'bound="max_streams"'): "0+1x30"},
    ),
    Case("TokenweirWorkerDied", 10, {_one("tokenweir_worker_deaths_total"): _GROWS}, {_one("tokenweir_worker_deaths_total"): _HELD}),
    Case(
        "TokenweirReloadRefused", 10,
        {_one("tokenweir_reloads_total", 'result="refused"'): _GROWS, _one("tokenweir_reloads_total", 'result="done"'): _GROWS},
        {_one("tokenweir_reloads_total", 'result="refused"'): _HELD},
    ),
    Case("TokenweirLogLinesLost", 10, {_one("tokenweir_log_lines_dropped_total"): _GROWS}, {_one("tokenweir_log_lines_dropped_total"): _HELD}),
    Case("TokenweirLimitStoreDown", 10, {_one("tokenweir_limit_store_up"): "0x20"}, {_one("tokenweir_limit_store_up"): "1x20"}),
    Case(
        "TokenweirLimitStoreSlow", 20,
        {_bucket(_STORE, "0.01"): "0+1x30", _bucket(_STORE, "0.25"): "0+100x30", _bucket(_STORE, "+Inf"): "0+100x30",
         _one("tokenweir_limit_store_up"): "1x30"},
        {_bucket(_STORE, "0.01"): "0+100x30"},
    ),
    Case(
        "TokenweirClockSkew", 10,
        {_one("tokenweir_limit_store_clock_skew_seconds"): "-3x20"},
        {_one("tokenweir_limit_store_clock_skew_seconds"): "0.5x20"},
    ),
    Case("TokenweirLedgerDown", 10, {_one("tokenweir_ledger_up"): "0x20"}, {_one("tokenweir_ledger_up"): "0x2 1x20"}),
    Case(
        "TokenweirJournalGrows", 30,
        {_one("tokenweir_ledger_journal_rows"): "0+500x40"},
        {_one("tokenweir_ledger_journal_rows"): "20000-100x40"},
    ),
    Case("TokenweirLedgerRefuses", 8, {_one("tokenweir_ledger_refusals_total"): _GROWS}, {_one("tokenweir_ledger_refusals_total"): _HELD}),
    Case(
        "TokenweirQuotaNearEnd", 70,
        {_one("tokenweir_tenant_quota_used_ratio", 'tenant="shop"'): "0.95x80",
         _one("tokenweir_tenant_requests_total", 'tenant="shop"'): "0+1x80",
         _one("tokenweir_tenant_quota_used_ratio", 'tenant="other"'): "1x80",
         _one("tokenweir_tenant_requests_total", 'tenant="other"'): "0+1x80"},
        # Who asks nothing any more needs nothing.
        {_one("tokenweir_tenant_requests_total", 'tenant="shop"'): "50x80"},
    ),
    Case(
        "TokenweirBudgetPassed", 20,
        {_one("tokenweir_quota_overshoots_total", 'limit="usd_per_month"'): _GROWS},
        {_one("tokenweir_quota_overshoots_total", 'limit="usd_per_month"'): _HELD},
    ),
    # Series that begin with their first event, and have no second one.
    Case(
        "TokenweirQuotaNearEnd", 70,
        {_one("tokenweir_tenant_quota_used_ratio", 'tenant="shop"'): "_x40 1x40",
         _one("tokenweir_tenant_requests_total", 'tenant="shop"'): "_x40 20x40"},
        {_one("tokenweir_tenant_quota_used_ratio", 'tenant="shop"'): "_x40 0.5x40"},
    ),
    Case(
        "TokenweirBudgetPassed", 8,
        {_one("tokenweir_quota_overshoots_total", 'limit="usd_per_month"'): "_x5 1x30"},
        {_one("tokenweir_quota_overshoots_total", 'limit="usd_per_month"'): "_x30"},
    ),
)  # fmt: skip
