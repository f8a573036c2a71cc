"""All alerts, by what they are about."""

from __future__ import annotations

from tools.monitoring import alerts_process, alerts_state, alerts_upstream, alerts_users
from tools.monitoring.alert import Alert

__all__ = ["ALERTS", "Alert"]

ALERTS: dict[str, list[Alert]] = {
    "users": alerts_users.ALERTS,
    "upstream": alerts_upstream.ALERTS,
    "state": alerts_state.ALERTS,
    "process": alerts_process.ALERTS,
}
