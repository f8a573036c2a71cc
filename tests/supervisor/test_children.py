"""Children that end are taken notice of, whoever they are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gateway.supervisor.children import Children


def _child(code: str) -> int:
    return os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", code], os.environ)


@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9)])
def test_whoever_watches_is_told_how_it_ended(code, status):
    children, told = Children(), []
    children.watch(_child(code), told.append)
    while not told:
        children.reap()
    assert told == [status]


def test_a_child_that_nobody_watches_is_no_zombie():
    pid, children = _child("pass"), Children()
    while os.path.exists(f"/proc/{pid}"):  # noqa: PTH110 - asked a thousand times
        children.reap()


def test_without_children_there_is_nothing_to_do():
    code = "from gateway.supervisor.children import Children; Children().reap()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_children_that_still_run_are_left_alone():
    with subprocess.Popen(["sleep", "100"]) as running:
        Children().reap()
        assert running.poll() is None
        running.kill()
