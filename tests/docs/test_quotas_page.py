"""docs/quotas.md names a check for each guarantee, and the checks exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quotas.md").read_text(encoding="utf-8")
_CHECK = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_each_guarantee_names_a_check_and_each_check_exists():
    section = PAGE.split("## What is guaranteed")[1].split("\n## ")[0]
    guarantees = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(guarantees) >= 10
    for line in guarantees:
        checks = _CHECK.findall(line)
        assert checks, line
        for path, name in checks:
            assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), (path, name)
