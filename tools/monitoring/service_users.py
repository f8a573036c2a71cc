"""What users feel: the wait, the pace, and how much of it there is."""

from __future__ import annotations

from tools.monitoring.expressions import RELAYED
from tools.monitoring.kit import JOB, About, heat, lines, number, query
from tools.monitoring.objectives import AVAILABILITY, FIRST_TOKEN_WITHIN, SLOW_STREAM

_R = "$__rate_interval"
_CHOSEN = f'{JOB},model=~"$model",dialect=~"$dialect"'
_MODEL = f'{JOB},model=~"$model"'
_TTFT = "tokenweir_time_to_first_token_seconds"
_WITHIN = float(FIRST_TOKEN_WITHIN)


def _quantile(share: float, metric: str, labels: str, *by: str) -> str:
    return f"histogram_quantile({share}, sum by ({', '.join((*by, 'le'))}) (rate({metric}_bucket{{{labels}}}[{_R}])))"


def _quantiles(metric: str, labels: str, *, exemplar: bool = False) -> list:  # type: ignore[type-arg]
    shares = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    return [query(_quantile(share, metric, labels), name, exemplar=exemplar) for share, name in shares]


GLANCE = [
    number(
        About(
            "Time to first token, p95", "s",
            "Of twenty answers nineteen began within this time. Red: people wait; look at the next row for whose share it is.",
            "first-tokens-are-late",
        ),
        query(_quantile(0.95, _TTFT, _CHOSEN)), (_WITHIN / 2, "orange"), (_WITHIN, "red"),
    ),
    number(
        About(
            "Requests that fail", "percentunit",
            "Share that failed by the gateway's fault or Claude's; callers' own mistakes and limits do not count. "
            "Red is more than the objective allows: look at errors by origin.",
            "answers-fail",
        ),
        query(f"job:tokenweir_availability_bad:ratio_rate5m{{{JOB}}}"),
        (AVAILABILITY.budget / 5, "orange"), (AVAILABILITY.budget, "red"),
    ),
    number(
        About(
            "Streams", "short", "Answers that are being relayed now, on all replicas. Zero in working hours: nobody gets in.",
            "requests-are-shed",
        ),
        query(f"sum(tokenweir_streams_active{{{JOB}}})"),
    ),
    number(
        About(
            "Output tokens", "tokens/s", "What all streams bring together. A fall while streams stay is a slow Claude.",
            "streams-are-slow",
        ),
        query(f'sum(job_model:tokenweir_output_tokens:rate5m{{{_MODEL}}})'),
    ),
    number(
        About(
            "Cost an hour", "currencyUSD", "At list prices, at the rate of the last minutes. Who it is: the Tenants dashboard.",
            "a-quota-is-near-its-end",
        ),
        query(f"sum(rate(tokenweir_cost_usd_total{{{_MODEL}}}[{_R}])) * 3600"),
    ),
    number(
        About("Alerts that fire", "short", "Each is a red mark in all panels below, and a section of the runbook.", "alerts"),
        query('count(ALERTS{alertstate="firing",alertname=~"Tokenweir.*"}) or vector(0)'), (1, "red"),
    ),
]  # fmt: skip

FIRST_TOKEN = [
    lines(
        About(
            "Time to first token", "s",
            f"From a request's arrival to the first content delta that the client was given, thinking included; {_WITHIN:g} s are "
            "promised. Dots lead to traces. If it rises, see beside it whose share it is.",
            "first-tokens-are-late",
        ),
        *_quantiles(_TTFT, _CHOSEN, exemplar=True),
    ),
    heat(
        About(
            "Time to first token, all of them", "s",
            "A quantile hides two groups, this does not: a second band far above the first is one model, one dialect or one "
            "upstream. Choose them above.",
            "first-tokens-are-late",
        ),
        query(f"sum by (le) (increase({_TTFT}_bucket{{{_CHOSEN}}}[{_R}]))"),
    ),
    lines(
        About(
            "Whose share it is, p95", "s",
            "Claude's: from the start of the call that answered. The gateway's own: all the rest, some milliseconds. If the "
            "gateway's rises, look at the event loop, Redis and waits for connections.",
            "first-tokens-are-late",
        ),
        query(_quantile(0.95, "tokenweir_upstream_time_to_first_token_seconds", _MODEL, "upstream"), "Claude, {{upstream}}"),
        query(_quantile(0.95, "tokenweir_overhead_seconds", f'{JOB},dialect=~"$dialect"', "dialect"), "gateway, {{dialect}}"),
        log=True,
    ),
    lines(
        About(
            "Time to first text", "s",
            "To the first delta of text. Far above the time to first token: the model thinks long, and people look at nothing "
            "unless the frontend shows it.",
            "first-tokens-are-late",
        ),
        *_quantiles("tokenweir_time_to_first_text_seconds", _CHOSEN),
    ),
    lines(
        About(
            "Time to first token by model, p95", "s",
            "Larger models and longer prompts take longer. One that rises alone is Claude's.",
            "first-tokens-are-late",
        ),
        query(_quantile(0.95, _TTFT, _CHOSEN, "model"), "{{model}}"),
    ),
    lines(
        About(
            "Duration of requests, p95", "s",
            "Arrival to end, by how they ended. Long is normal for long answers; long for `refused` is not.",
            "first-tokens-are-late",
        ),
        query(_quantile(0.95, "tokenweir_request_duration_seconds", f"{JOB},{RELAYED}", "kind"), "{{kind}}"), log=True,
    ),
]  # fmt: skip

_SPEED = "tokenweir_output_tokens_per_second"
TOKENS = [
    lines(
        About(
            "Output tokens", "tokens/s", "By model, over all streams. It falls with the load; if streams stay, Claude is slow.",
            "streams-are-slow",
        ),
        query(f"job_model:tokenweir_output_tokens:rate5m{{{_MODEL}}}", "{{model}}"), stacked=True,
    ),
    lines(
        About(
            "Speed of a stream", "tokens/s",
            f"Tokens over the time in which they arrived. Below {float(SLOW_STREAM):g} people read faster than it comes: compare "
            "with the gap, which a slow client does not change.",
            "streams-are-slow",
        ),
        query(_quantile(0.5, _SPEED, _MODEL), "median"), query(_quantile(0.05, _SPEED, _MODEL), "slowest 5 %"),
    ),
    lines(
        About(
            "Gap between tokens", "s",
            "Mean of each stream. Above 0.1 s people notice. If it rises for one model alone, Claude is slow there.",
            "streams-are-slow",
        ),
        *_quantiles("tokenweir_time_per_output_token_seconds", _MODEL),
    ),
    lines(
        About(
            "Longest silence of a stream", "s",
            "A high silence with a good mean gap is a stall: Claude's, a proxy's, or ours, then the event loop lags too.",
            "streams-are-slow",
        ),
        *_quantiles("tokenweir_longest_token_gap_seconds", _MODEL), log=True,
    ),
    lines(
        About(
            "Tokens by price class", "tokens/s",
            "The classes do not overlap. Thinking is a part of the output. Little `cache_read` with long prompts: prompts "
            "change at their beginning, or nobody asks for caching.",
            "a-quota-is-near-its-end",
        ),
        query(f"sum by (kind) (rate(tokenweir_tokens_total{{{_MODEL}}}[{_R}]))", "{{kind}}"),
        query(f"sum(rate(tokenweir_thinking_tokens_total{{{_MODEL}}}[{_R}]))", "thinking, of output"), log=True,
    ),
    lines(
        About(
            "Estimated usage and web searches", "ops",
            "Requests whose output Claude did not tell, because clients left or streams were cut: why the bill differs a "
            "little. Searches are billed apart.",
            "clients-leave",
        ),
        query(f"sum(rate(tokenweir_usage_estimated_total{{{_MODEL}}}[{_R}]))", "estimated"),
        query(f"sum(rate(tokenweir_web_search_requests_total{{{_MODEL}}}[{_R}]))", "web searches"),
    ),
]  # fmt: skip

REQUESTS = [
    lines(
        About(
            "Requests by end", "reqps",
            "`done`; `refused` before Claude was asked; `error`; `disconnected` by the client. A stream that fails in its "
            "middle is an `error` with status 200.",
            "answers-fail",
        ),
        query(f"sum by (kind) (rate(tokenweir_requests_total{{{JOB}}}[{_R}]))", "{{kind}}"), stacked=True,
    ),
    lines(
        About(
            "Requests by route", "reqps", "What is asked of the gateway. A route that appears is a new client, or a scanner.",
            "answers-fail",
        ),
        query(f"sum by (route, method) (rate(tokenweir_requests_total{{{JOB}}}[{_R}]))", "{{method}} {{route}}"), stacked=True,
    ),
    lines(
        About(
            "Requests by status", "reqps",
            "By the first digit of the status. 5xx are ours or Claude's; 4xx are callers', and Claude's 429.",
            "answers-fail",
        ),
        query(f"sum by (status_class) (rate(tokenweir_requests_total{{{JOB}}}[{_R}]))", "{{status_class}}"), stacked=True,
    ),
    lines(
        About(
            "Streams by replica", "short",
            "Being relayed now. Uneven replicas: the load balancer keeps connections, or a replica drains.",
            "requests-are-shed",
        ),
        query(f"tokenweir_streams_active{{{JOB}}}", "{{instance}}"), stacked=True,
    ),
    lines(
        About(
            "Bytes to clients", "Bps", "Bodies without framing. What the network in front has to carry.", "streams-are-slow",
        ),
        query(f"sum by (route) (rate(tokenweir_client_bytes_total{{{JOB}}}[{_R}]))", "{{route}}"), stacked=True,
    ),
    lines(
        About(
            "Connections of clients", "short",
            "Idle ones included. Far more than streams is normal with browsers. `refused` per second: there were "
            "[server] max_connections already.",
            "files-run-out",
        ),
        query(f"tokenweir_connections{{{JOB}}}", "{{instance}}"),
        query(f"sum by (instance) (rate(tokenweir_connections_refused_total{{{JOB}}}[{_R}]))", "refused/s, {{instance}}"),
    ),
]  # fmt: skip
