"""Limits, budgets and the ledger: Redis, the database, and what tenants have left."""

from __future__ import annotations

from tools.monitoring.alert import Alert
from tools.monitoring.expressions import grew, quantile
from tools.monitoring.objectives import CLOCK_SKEW, JOURNAL_ROWS, QUOTA_USED, STORE_SLOW

_STORE_P99 = quantile(0.99, "tokenweir_limit_store_seconds", "5m", by="job, instance")

ALERTS = [
    Alert(
        "TokenweirLimitStoreDown", "the-limit-store-is-away", "page",
        "min by (job, instance) (tokenweir_limit_store_up) == 0", "1m",
        "{{ $labels.instance }} does not reach Redis",
        "Requests get what [limits] on_store_failure says: with deny, the default, a 503.",
    ),
    Alert(
        "TokenweirLimitStoreSlow", "the-limit-store-is-slow", "ticket",
        f"{_STORE_P99} > {STORE_SLOW} and on (job, instance) tokenweir_limit_store_up == 1", "5m",
        "Redis takes {{ $value | humanizeDuration }} for {{ $labels.instance }}, one time in a hundred",
        "Each request waits for it twice, and past [limits] store_timeout it counts as away.",
    ),
    Alert(
        "TokenweirClockSkew", "clocks-differ", "ticket",
        f"abs(tokenweir_limit_store_clock_skew_seconds) > {CLOCK_SKEW:g}", "5m",
        "The clock of {{ $labels.instance }} is {{ $value | humanizeDuration }} from Redis'",
        "Limits go by Redis' clock, the ledger's days by the same; logs and expiry of keys by the machine's.",
    ),
    Alert(
        "TokenweirLedgerDown", "the-ledger-is-away", "ticket",
        "min by (job, instance) (tokenweir_ledger_up) == 0", "2m",
        "The database takes no rows of {{ $labels.instance }}",
        "Nothing is lost: rows stay in the journal on the disk. Keys that nobody knows yet cannot be looked up.",
    ),
    Alert(
        "TokenweirJournalGrows", "the-journal-grows", "page",
        f"tokenweir_ledger_journal_rows > {JOURNAL_ROWS} and deriv(tokenweir_ledger_journal_rows[10m]) > 0", "10m",
        "{{ $value | humanize }} rows wait in the journal of {{ $labels.instance }}, and it grows",
        "When the disk is full, requests are refused. Bring the database back, or make room.",
    ),
    Alert(
        "TokenweirLedgerRefuses", "nothing-can-be-booked", "page",
        "increase(tokenweir_ledger_refusals_total[5m]) > 0", "",
        "Neither the database nor the journal of {{ $labels.instance }} takes rows",
        "The disk is full or fails. Requests are refused, or served unbooked, as [ledger] on_failure says.",
    ),
    Alert(
        "TokenweirQuotaNearEnd", "a-quota-is-near-its-end", "ticket",
        f'max by (job, tenant) (tokenweir_tenant_quota_used_ratio{{tenant!="other"}}) > {QUOTA_USED}'
        f" and on (job, tenant) {grew('tokenweir_tenant_requests_total', '1h', 'job, tenant')}", "",
        "{{ $labels.tenant }} has used {{ $value | humanizePercentage }} of a limit per day or month",
        "It will be refused before the period ends. Tell the tenant, or grant more.",
    ),
    Alert(
        "TokenweirBudgetPassed", "a-budget-was-passed", "ticket",
        grew("tokenweir_quota_overshoots_total", "15m", "job, limit"), "",
        "Requests took {{ $labels.limit }} past its amount",
        "An input was above its estimate, or a plan has allow_unbounded. By how much: the Tenants dashboard.",
    ),
]  # fmt: skip
