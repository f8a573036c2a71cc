"""The gateway's own processes, and whether anybody sees them."""

from __future__ import annotations

from tools.monitoring.alert import Alert
from tools.monitoring.objectives import FILES_USED, JOB, LOOP_LAG, MEMORY_PER_WORKER

# Every program exports process_ metrics; of the gateway's are those beside which its build is.
_OURS = "and on (job, instance) tokenweir_build_info"

ALERTS = [
    Alert(
        "TokenweirNotScraped", "nothing-is-scraped", "page",
        f'up{{job="{JOB}"}} == 0 or absent(up{{job="{JOB}"}})', "2m",
        "Prometheus cannot scrape {{ $labels.instance }}",
        "The process is gone, its operators' address is not reachable, or there is no target: nothing else here can fire.",
    ),
    Alert(
        "TokenweirEventLoopLags", "the-event-loop-lags", "page",
        f"job_instance:tokenweir_event_loop_lag_seconds:p99_5m > {LOOP_LAG}", "5m",
        "The event loop of {{ $labels.instance }} is {{ $value | humanizeDuration }} late",
        "Every token of every stream waits so long. The core is full, or something blocks; past max_loop_lag it sheds.",
    ),
    Alert(
        "TokenweirMemoryHigh", "memory-is-short", "ticket",
        f"process_resident_memory_bytes / on (job, instance) tokenweir_workers > {MEMORY_PER_WORKER:.0f}", "10m",
        "Each process of {{ $labels.instance }} has {{ $value | humanize1024 }}B",
        "An idle one has 90 MB, a stream adds some 35 KiB. Slow clients, large bodies, or a leak.",
    ),
    Alert(
        "TokenweirFilesRunOut", "files-run-out", "ticket",
        f"process_open_fds / process_max_fds > {FILES_USED} {_OURS}"
        " or increase(tokenweir_open_files_exhausted_total[5m]) > 0", "2m",
        "{{ $labels.instance }} has hardly any open files left",
        "A stream holds two. At the limit, connections are closed as they come.",
    ),
    Alert(
        "TokenweirRequestsShed", "requests-are-shed", "page",
        "sum by (job, bound) (rate(tokenweir_shed_total[5m])) > 0.1", "2m",
        "{{ $labels.job }} refuses requests because of {{ $labels.bound }}",
        "A bound of the gateway's own is reached: callers get 503 and try again.",
    ),
    Alert(
        "TokenweirWorkerDied", "a-worker-died", "ticket",
        "increase(tokenweir_worker_deaths_total[10m]) > 0", "",
        "A worker of {{ $labels.instance }} died",
        "Its streams were cut, another took its place. The log says how it ended: SIGKILL is often a lack of memory.",
    ),
    Alert(
        "TokenweirReloadRefused", "a-reload-was-refused", "ticket",
        'increase(tokenweir_reloads_total{result="refused"}[10m]) > 0', "",
        "{{ $labels.instance }} refused a configuration",
        "What runs is not what is written. tokenweir config check says what is wrong.",
    ),
    Alert(
        "TokenweirLogLinesLost", "log-lines-are-lost", "ticket",
        "increase(tokenweir_log_lines_dropped_total[10m]) > 0", "",
        "{{ $labels.instance }} could not write log lines",
        "Nobody reads its standard output: the log collector is stuck or gone.",
    ),
]  # fmt: skip
