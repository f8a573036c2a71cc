"""Helm for the chart in deploy/helm, without the program: Helm's own library, which a Python package brings.

    python tools/helm.py lint [VALUES.yaml ...]
    python tools/helm.py template [VALUES.yaml ...]

`make .venv/.helm` installs the package. Where there is a helm, `helm lint --strict` and `helm template` do the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).resolve().parents[1] / "deploy" / "helm" / "tokenweir"
_WARNING = 2


def merged(files: list[Path]) -> dict[str, Any]:
    """Return the values of several files; later ones win, key by key."""
    values: dict[str, Any] = {}
    for file in files:
        _lay_over(values, yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    return values


def _lay_over(values: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _lay_over(values[key], value)
        else:
            values[key] = value


def lint(values: dict[str, Any]) -> int:
    """Print what Helm finds; 1 if it is more than a hint."""
    report = helm_python.lint(str(CHART), values, strict=True)
    for message in report["messages"]:
        print(f"{message['path']}: {message['error']}")  # noqa: T201
    return int(bool(report["errors"]) or any(message["severity"] >= _WARNING for message in report["messages"]))


def template(values: dict[str, Any]) -> int:
    """Print what the chart makes."""
    with helm_python.Chart.load(str(CHART)) as chart:
        made = chart.render(values, name="release", namespace="default")
    for path, text in sorted(made.items()):
        if path.endswith(".yaml") and text.strip():
            print(f"---\n# Source: {path}\n{text.strip()}")  # noqa: T201
    return 0


def main() -> int:
    """Run a command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["lint", "template"])
    parser.add_argument("values", nargs="*", type=Path)
    given = parser.parse_args()
    try:
        return {"lint": lint, "template": template}[given.command](merged(given.values))
    except helm_python.HelmError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main())
