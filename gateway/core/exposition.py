"""Metrics as Prometheus' text and as OpenMetrics, written at half the library's price.

The library asks of each line whether its names need quoting. Of a thousand tenants and twenty models, 7,000 lines,
text took it 117 ms and OpenMetrics, which is what Prometheus asks for, 170; here both 70. Ours have plain names, and no
timestamps. A test compares the two.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

_BREATH_EVERY = 64  # lines, about 0.3 ms
_LARGE = 1e6
_TEXT_KINDS = {"unknown": "untyped", "info": "gauge", "stateset": "gauge"}
_SUFFIXES = {"counter": "_total", "info": "_info"}


_OPENMETRICS = "application/openmetrics-text"
_VERSIONS = {"", "version=1.0.0"}


def negotiated(accept: str) -> tuple[bool, str]:
    """Return whether a scraper that accepts this gets OpenMetrics, and the content type of what it gets."""
    for accepted in accept.split(","):
        kind, *parameters = [part.strip() for part in accepted.split(";")]
        version = next((each for each in parameters if each.startswith("version=")), "")
        if kind == _OPENMETRICS and version in _VERSIONS:
            return True, f"{_OPENMETRICS}; version=1.0.0; charset=utf-8; escaping=underscores"
    return False, "text/plain; version=0.0.4; charset=utf-8"


class Sample(Protocol):
    """A line."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def exemplar(self) -> Any: ...  # noqa: D102


class Family(Protocol):
    """A metric with all of its lines, as prometheus-client collects it."""

    name: str
    documentation: str
    type: str
    samples: Any


def _no_pause() -> None:
    """Go on."""


def exposed(families: Iterable[Family], *, openmetrics: bool, pause: Callable[[], None] = _no_pause) -> bytes:
    """Return the exposition.

    Args:
        families: What was collected; ``_created`` is left out, which doubles the counters and which nothing reads.
        openmetrics: That format, with exemplars; else Prometheus' text.
        pause: Called after every few dozen lines, so that other threads get their turn.
    """
    lines: list[str] = []
    due = 0
    for family in families:
        lines.append(_head(family, openmetrics=openmetrics))
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            lines.append(_line(sample, openmetrics=openmetrics))
            if len(lines) >= due:
                due = len(lines) + _BREATH_EVERY
                pause()
    if openmetrics:
        lines.append("# EOF\n")
    return "".join(lines).encode()


def _head(family: Family, *, openmetrics: bool) -> str:
    name, kind, text = family.name, family.type, family.documentation
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    if openmetrics:
        text = text.replace('"', '\\"')
    else:
        name, kind = name + _SUFFIXES.get(kind, ""), _TEXT_KINDS.get(kind, kind)
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _line(sample: Sample, *, openmetrics: bool) -> str:
    labels = _labels(sample.labels) if sample.labels else ""
    told = sample.exemplar if openmetrics else None
    exemplar = "" if told is None else f" # {_labels(told.labels)} {_number(told.value)} {told.timestamp}"
    return f"{sample.name}{labels} {_number(sample.value)}{exemplar}\n"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join([f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items())]) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    """Return it as Go does, which tells a bucket by its text and has exponents sooner: 1e+06."""
    value = float(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if value < _LARGE or "e" in text:
        return text
    whole, _, rest = text.partition(".")
    return f"{whole[0]}.{whole[1:]}{rest}".rstrip("0.") + f"e+{len(whole) - 1:02d}"
