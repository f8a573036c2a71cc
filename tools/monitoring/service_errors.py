"""What goes wrong, by whose fault, and what the upstreams do."""

from __future__ import annotations

from tools.monitoring.kit import JOB, About, lines, query, states

_R = "$__rate_interval"


def _rate(metric: str, by: str, labels: str = "") -> str:
    chosen = ",".join(part for part in (JOB, labels) if part)
    return f"sum by ({by}) (rate({metric}{{{chosen}}}[{_R}]))"


_LEFT = 'phase=~"upstream_wait|before_first_token"'
_BEGUN = f"sum(rate(tokenweir_time_to_first_token_seconds_count{{{JOB}}}[{_R}]))"
_GONE = f"sum(rate(tokenweir_client_disconnects_total{{{JOB},{_LEFT}}}[{_R}]))"

ERRORS = [
    lines(
        About(
            "Errors by origin", "reqps",
            "Whose fault: `client` is the callers' own, `upstream` is Claude or the way to it, `gateway` is ours and should be "
            "flat. The log lines with that `error` have the request.",
            "answers-fail",
        ),
        query(_rate("tokenweir_errors_total", "origin"), "{{origin}}"), stacked=True,
    ),
    lines(
        About(
            "Errors by code", "reqps", "docs/errors.md says what each means. `upstream_credential`: act now.", "answers-fail",
        ),
        query(f"{_rate('tokenweir_errors_total', 'code, origin')} > 0", "{{code}} ({{origin}})"), stacked=True,
    ),
    lines(
        About(
            "Refused by a limit", "reqps",
            "By the limit's name, as in the RateLimit header. A plan is too narrow or a caller runs away: the log says who, "
            "and the Tenants dashboard who is near the end.",
            "a-quota-is-near-its-end",
        ),
        query(_rate("tokenweir_refusals_total", "limit"), "{{limit}}"), stacked=True,
    ),
    lines(
        About(
            "Shed by a bound of the gateway's own", "reqps",
            "503 because the process is full: by the bound's key in the configuration. Have more workers or replicas.",
            "requests-are-shed",
        ),
        query(_rate("tokenweir_shed_total", "bound"), "{{bound}}"), stacked=True,
    ),
    lines(
        About(
            "Clients that left, by phase", "reqps",
            "How far the answer had come. Many `upstream_wait` or `before_first_token`: people give up waiting.",
            "clients-leave",
        ),
        query(_rate("tokenweir_client_disconnects_total", "phase"), "{{phase}}"), stacked=True,
    ),
    lines(
        About(
            "Abandonment", "percentunit",
            "Clients gone before the first token, of those and all streams that began. It follows the time to first token; "
            "if it rises alone, a proxy or a client has a time limit that is too short.",
            "clients-leave",
        ),
        query(f"{_GONE} / ({_GONE} + {_BEGUN})", "left before the first token"), top=1,
    ),
    lines(
        About(
            "Answers that the gateway ended", "reqps",
            "`draining`: [server] drain_grace is shorter than the answers. `access_cut`: an operator cut a tenant's streams. "
            "Below: clients dropped because they took nothing.",
            "clients-leave",
        ),
        query(_rate("tokenweir_streams_cut_total", "code"), "{{code}}"),
        query(_rate("tokenweir_slow_clients_dropped_total", "job"), "slow clients"),
    ),
    lines(
        About(
            "Failed authentications", "reqps", "A step is a client with an old key, a slope is someone guessing.",
            "somebody-guesses-keys",
        ),
        query(_rate("tokenweir_failed_authentications_total", "code"), "{{code}}"), stacked=True,
    ),
    lines(
        About(
            "Log lines lost", "ops", "Not 0: nobody reads standard output, the log collector is stuck or gone.",
            "log-lines-are-lost",
        ),
        query(_rate("tokenweir_log_lines_dropped_total", "instance"), "{{instance}}"),
    ),
]  # fmt: skip

UPSTREAMS = [
    lines(
        About(
            "Retries", "ops", "Waits after which upstreams were tried again, by the failure before: trouble that callers do not "
            "see yet.", "the-upstream-fails",
        ),
        query(_rate("tokenweir_upstream_retries_total", "upstream, code"), "{{upstream}}: {{code}}"), stacked=True,
    ),
    lines(
        About(
            "Failovers", "ops",
            "Requests that went on to the next upstream, by why this one was left: the first does not carry its share. An "
            "authentication, billing or permission error: its credential is bad.",
            "the-upstream-fails",
        ),
        query(_rate("tokenweir_upstream_failovers_total", "upstream, code"), "{{upstream}}: {{code}}"), stacked=True,
    ),
    states(
        About(
            "Breakers", "short", "Open: the upstream failed so often that it is not asked. The worst of all replicas.",
            "a-breaker-is-open",
        ),
        query(f"max by (upstream) (tokenweir_upstream_breaker_state{{{JOB}}})", "{{upstream}}"),
        {"0": ("closed", "green"), "1": ("half open", "orange"), "2": ("open", "red")},
    ),
    lines(
        About(
            "Changes of breakers", "ops", "Many to `open`: it flaps. The log line says what failed.", "a-breaker-is-open",
        ),
        query(_rate("tokenweir_upstream_breaker_transitions_total", "upstream, state"), "{{upstream}} to {{state}}"),
    ),
    lines(
        About(
            "Throttled for", "s",
            "How long the upstream takes no requests of some kind, as its latest 429 said. Raise the account's limits, or add "
            "an upstream.",
            "the-upstream-throttles",
        ),
        query(
            f"clamp_min(max by (upstream) (tokenweir_upstream_throttled_until_timestamp_seconds{{{JOB}}}) - time(), 0)",
            "{{upstream}}",
        ),
    ),
    lines(
        About(
            "Connections to upstreams", "short", "Compare `busy` with [upstream] max_connections, per process.",
            "the-upstream-fails",
        ),
        query(f"sum by (upstream, state) (tokenweir_upstream_connections{{{JOB}}})", "{{upstream}}, {{state}}"), stacked=True,
    ),
    lines(
        About(
            "Time to connect, p95", "s", "DNS, TCP, a proxy's tunnel and TLS. Slow: DNS, the proxy, or the network.",
            "the-upstream-fails",
        ),
        query(
            "histogram_quantile(0.95, sum by (upstream, le) "
            f"(rate(tokenweir_upstream_connect_seconds_bucket{{{JOB}}}[{_R}])))", "{{upstream}}",
        ),
    ),
    lines(
        About(
            "Connections that failed", "ops", "By how far they came: `dns`, `tcp`, `proxy`, `tls`. The log has the reason.",
            "the-upstream-fails",
        ),
        query(_rate("tokenweir_upstream_connect_failures_total", "upstream, step"), "{{upstream}}: {{step}}"),
    ),
    lines(
        About(
            "Waits for a connection", "s",
            "p95 of those that waited, and how many gave up per second. Should be empty: raise [upstream] max_connections, or "
            "have more workers.",
            "requests-are-shed",
        ),
        query(
            "histogram_quantile(0.95, sum by (upstream, le) "
            f"(rate(tokenweir_upstream_pool_wait_seconds_bucket{{{JOB}}}[{_R}])))", "{{upstream}}",
        ),
        query(_rate("tokenweir_upstream_pool_timeouts_total", "upstream"), "gave up/s, {{upstream}}"),
    ),
]  # fmt: skip
