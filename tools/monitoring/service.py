"""The dashboard *Service*: from what users feel down to the processes."""

from __future__ import annotations

from tools.monitoring import service_errors, service_process, service_users
from tools.monitoring.kit import Panel

ROWS: dict[str, list[Panel]] = {
    "At a glance": service_users.GLANCE,
    "Time to first token": service_users.FIRST_TOKEN,
    "Tokens": service_users.TOKENS,
    "Requests and streams": service_users.REQUESTS,
    "Errors, refusals and departures": service_errors.ERRORS,
    "Upstreams": service_errors.UPSTREAMS,
    "Flow to clients": service_process.FLOW,
    "Limits and ledger": service_process.STATE,
    "Saturation, by replica and worker": service_process.SATURATION,
}
