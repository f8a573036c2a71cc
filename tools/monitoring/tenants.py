"""The dashboard *Tenants*: Prometheus for what happens now, the ledger for who spent what on which model."""

from __future__ import annotations

from tools.monitoring.kit import JOB, About, Panel, bars, days, lines, query, rows
from tools.monitoring.objectives import QUOTA_USED

_TENANTS = f'{JOB},tenant=~"$tenant"'
_SECTION = "a-quota-is-near-its-end"
_SPENDING = "somebody-spends-much"

# Days that are rolled up, and the requests that are not yet.
_USED = """WITH used AS (
  SELECT day, tenant, key_id, model, requests, input_tokens, output_tokens,
         cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens AS cache_tokens, cost_nano_usd
    FROM usage_days
  UNION ALL
  SELECT day, tenant, key_id, model, counted, input_tokens, output_tokens,
         cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens, cost_nano_usd
    FROM requests WHERE rolled = 0
)
"""
_THIS_MONTH = "day >= to_char(now(), 'YYYY-MM') || '-01'"
_CHOSEN = "tenant ~ '^(${tenant:regex})$' AND model ~ '^(${model:regex})$'"
_IN_TIME = (
    "day BETWEEN to_char($__timeFrom()::timestamptz, 'YYYY-MM-DD') AND to_char($__timeTo()::timestamptz, 'YYYY-MM-DD')"
)
_SUMS = (
    'sum(requests) AS "Requests", sum(input_tokens) AS "Input tokens", sum(output_tokens) AS "Output tokens",'
    ' sum(cache_tokens) AS "Cache tokens", sum(cost_nano_usd) / 1e9 AS "Cost"'
)
_UNITS = {
    "Cost": "currencyUSD",
    "So far": "currencyUSD",
    "By the end of the month": "currencyUSD",
    "A day": "currencyUSD",
}


def _month(of: str, names: str) -> str:
    return f'{_USED}SELECT {names}, {_SUMS} FROM used WHERE {_THIS_MONTH} AND {_CHOSEN} GROUP BY {of} ORDER BY "Cost" DESC LIMIT 200'


# Of the days that are over and the part of today: what a month of that length costs at the same pace.
_FORECAST = f"""{_USED}SELECT tenant AS "Tenant", sum(cost_nano_usd) / 1e9 AS "So far",
  sum(cost_nano_usd) / 1e9 / elapsed AS "A day", sum(cost_nano_usd) / 1e9 / elapsed * length AS "By the end of the month"
  FROM used, (SELECT extract(epoch FROM now() - date_trunc('month', now())) / 86400 AS elapsed,
    extract(day FROM date_trunc('month', now()) + interval '1 month - 1 day') AS length) AS month
  WHERE {_THIS_MONTH} AND {_CHOSEN} GROUP BY tenant, elapsed, length ORDER BY "So far" DESC LIMIT 200"""

_BY_DAY = f"""{_USED}SELECT to_timestamp(day, 'YYYY-MM-DD') AS "time", tenant AS metric, sum(cost_nano_usd) / 1e9 AS value
  FROM used WHERE {_IN_TIME} AND {_CHOSEN} GROUP BY day, tenant ORDER BY 1"""

ROWS: dict[str, list[Panel]] = {
    "Now": [
        bars(
            About(
                "Quota used", "percentunit",
                "Of each tenant's fullest limit per day or month, what is used or held. At 100 % it is refused until the period "
                "ends: `tokenweir quotas show TENANT` has all limits and resets, `tokenweir quotas grant` raises one for a while.",
                _SECTION,
            ),
            query(f"max by (tenant) (tokenweir_tenant_quota_used_ratio{{{_TENANTS}}})", "{{tenant}}"),
            (0.8, "orange"), (QUOTA_USED, "red"), most=1,
        ),
        lines(
            About(
                "Cost per hour", "currencyUSD",
                "What each tenant's requests of the last hour cost, by Claude's price list. A step is a new use, a spike is "
                "somebody's loop: the ledger's tables below say which key and model.",
                _SPENDING,
            ),
            query(f"job_tenant:tokenweir_cost_usd:rate1h{{{_TENANTS}}} * 3600", "{{tenant}}"), stacked=True,
        ),
        lines(
            About("Tokens", "short", "All tokens a second, in and out, by tenant. Who causes the load.", _SPENDING),
            query(f"sum by (tenant) (rate(tokenweir_tenant_tokens_total{{{_TENANTS}}}[$__rate_interval]))", "{{tenant}}"),
            stacked=True,
        ),
        lines(
            About("Requests", "reqps", "By tenant, those that were refused or failed included.", _SPENDING),
            query(f"sum by (tenant) (rate(tokenweir_tenant_requests_total{{{_TENANTS}}}[$__rate_interval]))", "{{tenant}}"),
            stacked=True,
        ),
        lines(
            About(
                "Refused, by limit", "reqps",
                "All tenants together, by the limit's name as in the RateLimit header: the number of series stays small. "
                "The log lines with status 429 have tenant and key.",
                _SECTION,
            ),
            query(f"sum by (limit) (rate(tokenweir_refusals_total{{{JOB}}}[$__rate_interval]))", "{{limit}}"), stacked=True,
        ),
        lines(
            About(
                "Near a limit, and past it", "ops",
                "Requests let in past the soft threshold, and those whose real use took a limit past its amount. The second "
                "should be flat: an input was above its estimate, or a plan has allow_unbounded.",
                "a-budget-was-passed",
            ),
            query(f"sum by (limit) (rate(tokenweir_quota_warnings_total{{{JOB}}}[$__rate_interval]))", "near {{limit}}"),
            query(f"sum by (limit) (rate(tokenweir_quota_overshoots_total{{{JOB}}}[$__rate_interval]))", "past {{limit}}"),
        ),
    ],
    "This month, from the ledger": [
        rows(
            About(
                "Spenders, and where they end", "short",
                "Cost of each tenant since the first of the month, and what the month comes to at the same pace. Above a budget: "
                "talk to the tenant before the limit does.",
                _SPENDING,
            ),
            _FORECAST, units=_UNITS,
        ),
        rows(
            About(
                "Tenants by model", "short",
                "Who uses which model, and what it costs. A tenant on a dearer model than it needs is the cheapest saving there is.",
                _SPENDING,
            ),
            _month("tenant, model", 'tenant AS "Tenant", model AS "Model"'), units=_UNITS,
        ),
        rows(
            About(
                "Keys", "short",
                "By key: one application of a tenant. A key that spends alone may be stolen: `tokenweir keys revoke KEY_ID`. What "
                "is left to a key is in `tokenweir quotas show TENANT`.",
                _SPENDING,
            ),
            _month("tenant, key_id", 'tenant AS "Tenant", key_id AS "Key"'), units=_UNITS,
        ),
        days(
            About(
                "Cost by day", "currencyUSD",
                "Of the time chosen above, by tenant. Days are those of the limits: [limits] time_zone.", _SPENDING,
            ),
            _BY_DAY,
        ),
    ],
}  # fmt: skip
