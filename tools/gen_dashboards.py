"""Write ``grafana/``: the dashboards, and Prometheus' rules, from ``tools/monitoring``; and the chart's copies of them.

``python tools/gen_dashboards.py`` writes, ``--check`` only says what is not as it would be written, and fails then.
``--scale 0.01 --rules DIRECTORY`` writes the rules alone, every window times the scale, for a drill.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from anywhere, installed or not

from tools.monitoring import dashboards, rules  # noqa: E402 - found through the line above

GRAFANA = ROOT / "grafana"
# Helm packs what is below the chart alone.
CHART = ROOT / "deploy" / "helm" / "tokenweir" / "files"


_RULES = (GRAFANA / "prometheus", CHART / "rules")
_DASHBOARDS = (GRAFANA / "dashboards", CHART / "dashboards")


def rule_files(scale: float = 1) -> dict[str, str]:
    """Return Prometheus' files by name."""
    return {
        "rules.yaml": rules.written(rules.recording(scale)),
        "alerts.yaml": rules.written(rules.alerting(scale)),
    }


def files() -> dict[Path, str]:
    """Return every file as it should be."""
    found = {folder / name: text for folder in _RULES for name, text in rule_files().items()}
    return found | {folder / name: text for folder in _DASHBOARDS for name, text in dashboards.files().items()}


def stale() -> list[Path]:
    """Return the files that are not as they should be, and those that should not be."""
    wanted = files()
    there = {path for folder in (*_RULES, *_DASHBOARDS) for path in folder.glob("*.*")}
    old = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    return sorted([*old, *(there - wanted.keys())])


def write(texts: dict[Path, str]) -> None:
    """Write files."""
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write the files, or say which are stale."""
    parser = argparse.ArgumentParser(description="Write the dashboards and rules of grafana/.")
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    parser.add_argument("--scale", type=float, default=1.0, help="what to multiply windows with")
    parser.add_argument("--rules", type=Path, metavar="DIRECTORY", help="where to write the rules alone")
    given = parser.parse_args(arguments)
    if given.rules:
        write({given.rules / name: text for name, text in rule_files(given.scale).items()})
        return 0
    if not given.check:
        for path in stale():
            path.unlink(missing_ok=True)
        write(files())
        return 0
    for path in stale():
        sys.stderr.write(f"{path.relative_to(ROOT)} is stale: run python tools/gen_dashboards.py\n")
    return 1 if stale() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
