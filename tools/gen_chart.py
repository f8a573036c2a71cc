"""Copy the dashboards and rules of grafana/ into the chart: Helm packs nothing that is outside of it.

Run it without arguments after a change of grafana/; `make check` runs it with `--check`, which changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ROOT / "deploy" / "helm" / "tokenweir" / "files"
COPIED = {"dashboards": "dashboards/*.json", "rules": "prometheus/*.yaml"}


def wanted() -> dict[Path, bytes]:
    """Return what has to be in the chart."""
    return {
        INSIDE / name / path.name: path.read_bytes()
        for name, pattern in COPIED.items()
        for path in sorted((ROOT / "grafana").glob(pattern))
    }


def main() -> int:
    """Copy, or compare."""
    files = wanted()
    there = {path: path.read_bytes() for name in COPIED for path in (INSIDE / name).glob("[!.]*")}
    if "--check" in sys.argv[1:]:
        if files == there:
            return 0
        print("the chart's copies of grafana/ are old: run tools/gen_chart.py", file=sys.stderr)  # noqa: T201
        return 1
    for path in there.keys() - files.keys():
        path.unlink()
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
