"""The unit of deploy/systemd is one that systemd reads, and gives away no more than the gateway needs."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.web.settings import ServerSettings
from tests.support.node import missing

DIRECTORY = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = DIRECTORY / "tokenweir.service"
EXPOSURE = 20  # of 100, as systemd-analyze counts it; what is left is the network, which a gateway is for


@pytest.fixture
def analyze():
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze is needed: tools/setup.sh systemd")

    def run(*arguments):
        command = ["systemd-analyze", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    return run


@pytest.fixture
def installed(tmp_path):
    """The unit with the gateway of this environment in it."""
    text = UNIT.read_text(encoding="utf-8")
    assert "/opt/tokenweir/bin/" in text
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/tokenweir/bin", str(Path(sys.executable).parent)))
    return str(unit)


def test_systemd_understands_every_line(analyze, installed):
    ended = analyze("verify", "--man=no", installed)
    assert [line for line in ended.stderr.splitlines() if UNIT.name in line] == []
    assert ended.returncode == 0


def test_it_is_confined(analyze, installed):
    ended = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", installed)
    assert ended.returncode == 0, ended.stdout[-300:]


def test_it_has_time_to_drain():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read_string(UNIT.read_text(encoding="utf-8"))
    server = ServerSettings()
    assert (
        int(unit["Service"]["TimeoutStopSec"]) >= server.drain_delay + server.drain_grace + 2 * server.drain_last_words
    )


def test_its_user_is_made():
    text = (DIRECTORY / "tokenweir.sysusers").read_text(encoding="utf-8")
    assert "\nu tokenweir " in text
    assert "\nUser=tokenweir\n" in UNIT.read_text(encoding="utf-8")
