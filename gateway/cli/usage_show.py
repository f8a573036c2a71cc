"""How ``tokenweir usage show`` writes a request: for programs and for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.cli.ledger import exact_dollars, shown
from gateway.ledger.rows import State
from gateway.ledger.tables import TOKENS

_STATES = {State.OPEN: "running", State.CLAIMED: "ended for its worker, which is gone", State.DONE: "ended"}

# Under each heading, columns in the order in which they are shown.
_PARTS = {
    "": ("request_id", "upstream_request_id", "tenant", "key_id", "end_user"),
    "asked": ("route", "dialect", "stream", "model"),
    "phases": (
        "state",
        "received_at",
        "first_token_at",
        "ended_at",
        "checkpoint_at",
        "lease_until",
        "worker_id",
        "day",
    ),
    "outcome": ("kind", "status", "error_code", "stop_reason", "upstream", "attempts", "model_answered"),
    "used": (*TOKENS, "estimated", "cost_usd", "priced"),
}
_TIMES = ("received_at", "first_token_at", "ended_at", "checkpoint_at", "lease_until")


def as_json(row: Mapping[str, Any]) -> dict[str, object]:
    """Return the request as one flat object: times as RFC 3339 in UTC, None for what is unknown or absent."""
    told = dict(row)
    told |= {name: _written(row[name]) for name in _TIMES}
    told |= {name: row[name] or None for name in ("key_id", "end_user", "upstream")}
    told |= {"state": _STATES[row["state"]], "cost_usd": exact_dollars(row["cost_nano_usd"])}
    return {name: told[name] for names in _PARTS.values() for name in names}


def as_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the request in paragraphs, without what is unknown or absent."""
    told = as_json(row) | {name: f"{row[name]:,}" for name in TOKENS}
    told |= {name: "yes" if row[name] else "no" for name in ("stream", "estimated")}
    for name in ("first_token_at", "ended_at"):
        if row[name] is not None:
            told[name] = f"{told[name]}  (after {row[name] - row['received_at']:.3f} s)"
    if row["state"] != State.OPEN:
        # They matter while a request runs: when it was heard of last, and until when its worker has it.
        del told["checkpoint_at"], told["lease_until"]
    for heading, names in _PARTS.items():
        yield from ([heading] if heading else [])
        indent = "  " if heading else ""
        for name in names:
            if told.get(name) is not None:
                yield f"{indent + name:<24}{shown(str(told[name]))}"


def _written(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
