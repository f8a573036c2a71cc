"""In CI a test that was skipped is a failure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = "tests.support.no_skips"
PASSING = "def test_it(): pass\n"


@pytest.mark.parametrize(
    ("text", "plugin", "status"),
    [
        (PASSING, PLUGIN, 0),
        (f"import pytest\n@pytest.mark.skip(reason='no browser')\n{PASSING}", PLUGIN, 1),
        (f"import pytest\n@pytest.mark.skip(reason='no browser')\n{PASSING}", "", 0),
        (f"import pytest\npytest.skip('no browser', allow_module_level=True)\n{PASSING}", PLUGIN, 1),
        ("import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n", PLUGIN, 0),
    ],
    ids=["passing", "skipped", "skipped elsewhere", "module skipped", "expected to fail"],
)
def test_a_skipped_test_fails_the_run_where_nothing_may_be_skipped(tmp_path, text, plugin, status):
    (tmp_path / "test_example.py").write_text(text)
    (tmp_path / "test_other.py").write_text(PASSING)
    variables = {"PYTEST_PLUGINS": plugin, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--import-mode=importlib", "-c", os.devnull, "--rootdir", str(tmp_path)],
        cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == status, run.stdout + run.stderr
    assert len(re.findall("forbidden here: test_example.py", run.stdout)) == status


def test_the_plugin_is_on_where_everything_must_run():
    assert f"PYTEST_PLUGINS={PLUGIN}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
