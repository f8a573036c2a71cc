"""From measurements to a table: medians of the passes, what a server adds, and the ratio to nginx in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from tools.bench.measure import Measurement
from tools.bench.scenarios import QUANTITIES, SCENARIOS, Quantity

# (scenario, subject) -> one measurement for each pass.
Results = Mapping[tuple[str, str], Sequence[Measurement]]

_SATURATED = 0.95
_COLUMNS = ("nginx", "chat", "messages")
_HEAD = ("", "what", "unit", "nginx", "chat", "x nginx", "at most", "messages", "x nginx", "harness")


def median(results: Results, scenario: str, subject: str, key: str) -> float | None:
    """Return the median of the passes, None where nothing was measured."""
    values = [found[key] for found in results.get((scenario, subject), ()) if found.get(key) is not None]
    return statistics.median(values) if values else None


def value(results: Results, quantity: Quantity, subject: str) -> float | None:
    """Return a subject's number, less that of the subject which is taken off."""
    found = median(results, quantity.scenario, subject, quantity.key)
    if found is None or not quantity.minus:
        return found
    base = median(results, quantity.scenario, quantity.minus, quantity.key)
    return None if base is None else found - base


def ratio(value: float | None, reference: float | None) -> float | None:
    """Return a multiple of the reference, None where there is none."""
    return None if value is None or not reference or reference < 0 else value / reference


def exceeds(quantity: Quantity, value: float | None, reference: float | None) -> bool:
    """Whether a number is over the quantity's bar."""
    compared = ratio(value, reference) if quantity.relative else value
    return compared is not None and quantity.bar is not None and compared > quantity.bar


def table(results: Results) -> str:
    """Return the table; a ``!`` stands where the chat route is over its bar."""
    rows = [row(results, quantity) for quantity in QUANTITIES if measured(results, quantity)]
    return _aligned([_HEAD, *rows])


def measured(results: Results, quantity: Quantity) -> bool:
    """Whether anything was measured of a quantity."""
    return any(value(results, quantity, subject) is not None for subject in _COLUMNS)


def row(results: Results, quantity: Quantity) -> tuple[str, ...]:
    """Return a quantity's row."""
    nginx, chat, messages = (value(results, quantity, subject) for subject in _COLUMNS)
    over = " !" if exceeds(quantity, chat, nginx) else ""
    return (
        quantity.scenario,
        quantity.label,
        quantity.unit,
        _number(nginx, quantity.digits),
        _number(chat, quantity.digits) + over,
        _number(ratio(chat, nginx), 2),
        "" if quantity.bar is None else f"{quantity.bar:g}" + (" x" if quantity.relative else ""),
        _number(messages, quantity.digits),
        _number(ratio(messages, nginx), 2),
        _number(_harness(results, quantity.scenario), 2),
    )


def workers(results: Results) -> list[str]:
    """Say how two workers compare with one, where both were measured."""
    runs = results.get(("W2", "workers"), ())
    two, one = median(results, "W2", "workers", "us_per_token"), median(results, "S1", "chat", "us_per_token")
    if two is None:
        return []
    against = "" if one is None else f", {two / one:.2f} times that of one (at most 1.15)"
    said = [f"W2   two workers: {two:.1f} µs of CPU per token{against}"]
    return said + [f"     streams by worker: {shares(run['sockets_of_processes'])} (35 to 65 %)" for run in runs]


def shares(sockets: Sequence[int]) -> str:
    """Return how the two processes with the most sockets share them; a supervisor has hardly any."""
    most = sorted(sockets)[-2:]
    return " and ".join(f"{count / max(1, sum(most)):.0%}" for count in most)


def problems(results: Results) -> list[str]:
    """Return what makes a number worthless: answers that were not whole."""
    return [
        f"{scenario} {subject}: {count} times: {what}"
        for (scenario, subject), runs in results.items()
        for run in runs
        for what, count in run["problems"].items()
    ]


def warnings(results: Results) -> list[str]:
    """Return what a reader must know of the numbers: where the harness was the limit."""
    return [
        f"{scenario} {subject}: the harness used {run['harness']:.0%} of its core, so it was the limit: rates and "
        "delays are its own; CPU per token and per request hold"
        for (scenario, subject), runs in results.items()
        for run in runs[:1]
        if max(found["harness"] for found in runs) >= _SATURATED and SCENARIOS[scenario].kind == "load"
    ]


def _harness(results: Results, scenario: str) -> float | None:
    used = [run["harness"] for (name, _), runs in results.items() for run in runs if name == scenario]
    return max(used, default=None)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _aligned(rows: Iterable[tuple[str, ...]]) -> str:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    texts = 3  # the columns before the numbers
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < texts else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
