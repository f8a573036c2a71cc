"""The way to clients, what the gateway depends on, and its processes."""

from __future__ import annotations

from tools.monitoring.kit import JOB, About, lines, query, states
from tools.monitoring.objectives import CLOCK_SKEW, LOOP_LAG

_R = "$__rate_interval"
# Every program exports process_ metrics.
_OURS = f"and on (job, instance) tokenweir_build_info{{{JOB}}}"


def _rate(metric: str, by: str, labels: str = "") -> str:
    chosen = ",".join(part for part in (JOB, labels) if part)
    return f"sum by ({by}) (rate({metric}{{{chosen}}}[{_R}]))"


def _quantile(share: float, metric: str, by: str) -> str:
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', f'{by}, le')})"


_UP = {"0": ("away", "red"), "1": ("up", "green")}

FLOW = [
    lines(
        About(
            "Back-pressure", "short",
            "How many upstreams rest for their clients at a time, and how often a second. It is the bound at work; for all "
            "clients at once it is the network in front.",
            "clients-leave",
        ),
        query(_rate("tokenweir_backpressure_seconds_total", "instance"), "resting, {{instance}}"),
        query(_rate("tokenweir_backpressure_pauses_total", "instance"), "pauses/s, {{instance}}"),
    ),
    lines(
        About(
            "Bytes held for clients", "bytes",
            "What clients have not taken, in our memory. Near streams × [server] write_buffer: most clients lag.",
            "memory-is-short",
        ),
        query(f"tokenweir_client_held_bytes{{{JOB}}}", "{{instance}}"), stacked=True,
    ),
    lines(
        About(
            "Heartbeats and merged frames", "ops",
            "Comments sent into silences: many a request are long silences of Claude's. Merged frames: clients that lag get "
            "several tokens at a time.",
            "streams-are-slow",
        ),
        query(_rate("tokenweir_heartbeats_total", "job"), "heartbeats"),
        query(_rate("tokenweir_merged_frames_total", "job"), "merged frames"),
    ),
    lines(
        About(
            "A token's way through the gateway", "s", "Sampled, from the socket's callback to the write: microseconds. The wait "
            "for the event loop is not in it.", "the-event-loop-lags",
        ),
        query(_quantile(0.5, "tokenweir_token_overhead_seconds", "dialect"), "p50, {{dialect}}"),
        query(_quantile(0.99, "tokenweir_token_overhead_seconds", "dialect"), "p99, {{dialect}}"), log=True,
    ),
]  # fmt: skip

STATE = [
    states(
        About(
            "Redis and database", "short",
            "Away: requests get what [limits] on_store_failure says, rows of the ledger stay in the journal.",
            "the-limit-store-is-away",
        ),
        query(
            f'label_replace(min by (instance) (tokenweir_limit_store_up{{{JOB}}}), "what", "limits", "", "")'
            f' or label_replace(min by (instance) (tokenweir_ledger_up{{{JOB}}}), "what", "ledger", "", "")',
            "{{what}}, {{instance}}",
        ),
        _UP,
    ),
    lines(
        About(
            "Time that Redis takes, p99", "s", "As requests wait for it. Above 10 ms: Redis, the network or this process is busy.",
            "the-limit-store-is-slow",
        ),
        query(_quantile(0.99, "tokenweir_limit_store_seconds", "operation"), "{{operation}}"), log=True,
    ),
    lines(
        About(
            "Redis' failures and what it is owed", "short",
            "Operations that failed a second, ended requests that it is still to be told of, and those that it will not be "
            "told of: their use is in the ledger alone.",
            "the-limit-store-is-away",
        ),
        query(_rate("tokenweir_limit_store_failures_total", "operation"), "failed/s, {{operation}}"),
        query(f"sum(tokenweir_limit_store_arrears{{{JOB}}})", "owed"),
        query(f"sum(increase(tokenweir_limit_store_arrears_dropped_total{{{JOB}}}[{_R}]))", "dropped"),
    ),
    lines(
        About(
            "Clock skew", "s", f"By how much Redis' clock is ahead. Limits go by it; past {CLOCK_SKEW:g} s set the clocks.",
            "clocks-differ",
        ),
        query(f"tokenweir_limit_store_clock_skew_seconds{{{JOB}}}", "{{instance}}"),
    ),
    lines(
        About(
            "Rows that the database does not have", "short",
            "`waiting`: what comes in a tenth of a second. `journal`: what it failed to take, on the disk until it does. "
            "`refused`: nothing could take them.",
            "the-journal-grows",
        ),
        query(f"tokenweir_ledger_waiting_rows{{{JOB}}}", "waiting, {{instance}}"),
        query(f"tokenweir_ledger_journal_rows{{{JOB}}}", "journal, {{instance}}"),
        query(f"sum by (instance) (increase(tokenweir_ledger_refusals_total{{{JOB}}}[{_R}]))", "refused, {{instance}}"),
    ),
    lines(
        About(
            "Holds", "short",
            "Requests that hold a part of their limits: as many as are in flight. `expired`: whose lease ran out, because "
            "their worker died.",
            "a-worker-died",
        ),
        query(f"sum by (instance) (tokenweir_quota_holds{{{JOB}}})", "held, {{instance}}"),
        query(f"sum(increase(tokenweir_quota_expired_holds_total{{{JOB}}}[{_R}]))", "expired"),
    ),
    lines(
        About(
            "Settlements", "ops",
            "`exact` at what Claude told; a rise of `estimated`: clients leave or streams are cut; `cancelled`: a fault of ours.",
            "clients-leave",
        ),
        query(_rate("tokenweir_quota_settlements_total", "kind"), "{{kind}}"), stacked=True,
    ),
]  # fmt: skip

SATURATION = [
    lines(
        About(
            "Event-loop lag, p99", "s",
            f"How late the loop runs a timer: every token waits so long. Above 10 ms the core is short, above {LOOP_LAG * 1000:g} ms "
            "somebody is told. Have more workers.",
            "the-event-loop-lags",
        ),
        query(f"job_instance:tokenweir_event_loop_lag_seconds:p99_5m{{{JOB}}}", "{{instance}}"), log=True,
    ),
    lines(
        About(
            "CPU by replica", "short", "Cores in use. One process can use one: at 1 per worker it is full.",
            "the-event-loop-lags",
        ),
        query(f"rate(process_cpu_seconds_total{{{JOB}}}[{_R}]) {_OURS}", "{{instance}}"),
    ),
    lines(
        About(
            "CPU by worker", "short", "One worker at 1 while others rest: connections are spread unevenly, or it is stuck.",
            "the-event-loop-lags",
        ),
        query(_rate("tokenweir_worker_cpu_seconds_total", "instance, worker"), "{{instance}}, worker {{worker}}"),
    ),
    lines(
        About(
            "Memory by replica", "bytes", "Resident, of all processes of a replica. A slope that load does not explain is a leak.",
            "memory-is-short",
        ),
        query(f"process_resident_memory_bytes{{{JOB}}} {_OURS}", "{{instance}}"),
    ),
    lines(
        About(
            "Memory by worker", "bytes", "About 90 MB idle, and some 20 KiB a stream.", "memory-is-short",
        ),
        query(f"tokenweir_worker_resident_memory_bytes{{{JOB}}}", "{{instance}}, worker {{worker}}"), stacked=True,
    ),
    lines(
        About(
            "Streams by worker", "short", "Compare with [server] max_streams, which is per worker.", "requests-are-shed",
        ),
        query(f"tokenweir_worker_streams_active{{{JOB}}}", "{{instance}}, worker {{worker}}"), stacked=True,
    ),
    lines(
        About(
            "Open files", "percentunit",
            "Of the limit, of the fullest process; a stream holds two. And how often there were none left.", "files-run-out",
        ),
        query(f"process_open_fds{{{JOB}}} / process_max_fds{{{JOB}}} {_OURS}", "{{instance}}"),
        query(f"sum by (instance) (increase(tokenweir_open_files_exhausted_total{{{JOB}}}[{_R}]))", "ran out, {{instance}}"),
    ),
    lines(
        About(
            "Workers", "short",
            "Processes that serve, those that only finish what they have, and deaths. Below [server] workers for more than "
            "seconds: the log says how they ended.",
            "a-worker-died",
        ),
        query(f"tokenweir_workers{{{JOB}}}", "workers, {{instance}}"),
        query(f"tokenweir_draining{{{JOB}}}", "draining, {{instance}}"),
        query(f"increase(tokenweir_worker_deaths_total{{{JOB}}}[{_R}])", "deaths, {{instance}}"),
    ),
    lines(
        About(
            "Reloads and versions", "short",
            "Reloads by result, and how many replicas run which version. `refused`: what runs is not what is written.",
            "a-reload-was-refused",
        ),
        query(f"sum by (result) (increase(tokenweir_reloads_total{{{JOB}}}[{_R}]))", "reload {{result}}"),
        query(f"count by (version, python) (tokenweir_build_info{{{JOB}}})", "{{version}}, Python {{python}}"),
    ),
    lines(
        About(
            "Time since the start", "s", "Of the oldest process. A reset without a deploy is a crash.", "a-worker-died",
        ),
        query(f"(time() - process_start_time_seconds{{{JOB}}}) {_OURS}", "{{instance}}"),
    ),
]  # fmt: skip
