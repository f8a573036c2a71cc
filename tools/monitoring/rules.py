"""Prometheus' files of rules, at full length or with every window scaled down for a drill.

Rules are written with their true windows. Scaling changes what stands in brackets and after ``offset``, how long an alert
waits, and how often a group is evaluated; thresholds stay.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from tools.monitoring.alerts import ALERTS, Alert
from tools.monitoring.objectives import RUNBOOK
from tools.monitoring.recording import GROUPS

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WINDOW = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<= offset )(\d+)([smhd])")
_HEAD = "# Written by tools/gen_dashboards.py from tools/monitoring/: change it there.\n"


def scaled(duration: str, scale: float) -> str:
    """Return a duration, ``5m``, times ``scale``."""
    if scale == 1:
        return duration
    return f"{max(1, round(int(duration[:-1]) * _SECONDS[duration[-1]] * scale * 1000))}ms"


def _expression(expr: str, scale: float) -> str:
    return _WINDOW.sub(lambda found: scaled(found[0], scale), expr)


def _alert(alert: Alert, scale: float) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": alert.name, "expr": _expression(alert.expr, scale)}
    if alert.wait:
        rule["for"] = scaled(alert.wait, scale)
    rule["labels"] = {"severity": alert.severity}
    rule["annotations"] = {
        "summary": alert.summary,
        "description": alert.description,
        "runbook_url": f"{RUNBOOK}#{alert.section}",
    }
    return rule


def recording(scale: float = 1) -> dict[str, Any]:
    """Return the file of recording rules."""
    groups = []
    for name, (interval, records) in GROUPS.items():
        group: dict[str, Any] = {"name": name}
        if interval:
            group["interval"] = scaled(interval, scale)
        group["rules"] = [{"record": each.name, "expr": _expression(each.expr, scale)} for each in records]
        groups.append(group)
    return {"groups": groups}


def alerting(scale: float = 1) -> dict[str, Any]:
    """Return the file of alerts."""
    return {
        "groups": [
            {"name": f"tokenweir-{name}", "rules": [_alert(each, scale) for each in alerts]}
            for name, alerts in ALERTS.items()
        ]
    }


def written(rules: dict[str, Any]) -> str:
    """Return a file's text."""
    return _HEAD + yaml.safe_dump(rules, sort_keys=False, width=120, allow_unicode=True)
