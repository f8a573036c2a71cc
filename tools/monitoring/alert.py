"""What an alert is.

``page`` is for what users feel now, ``ticket`` for what can wait until morning. Expressions keep ``job``, so that one
Prometheus can watch several gateways, and go by the gateway's own metrics, never by the name of the job.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Alert(NamedTuple):
    """A rule that tells somebody.

    Attributes:
        name: Its name.
        section: The section of docs/runbook.md about it.
        severity: See above.
        expr: PromQL with true windows.
        wait: How long it has to hold.
        summary: One line, with the labels of the series.
        description: What it means and what to do first.
    """

    name: str
    section: str
    severity: Literal["page", "ticket"]
    expr: str
    wait: str
    summary: str
    description: str
