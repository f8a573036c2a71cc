"""The supervisor's log lines."""

from __future__ import annotations

import json
import os
import pty

import pytest

from gateway.supervisor.journal import Journal


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def test_a_line_is_like_the_workers(pipe):
    read, write = pipe
    Journal(write).error("a worker died", worker=7)
    line = os.read(read, 1000)
    assert line.endswith(b"\n")
    assert b'"level":"error","event":"a worker died","worker":7}' in line
    assert json.loads(line)["timestamp"].endswith("Z")


def test_a_line_for_people_is_no_json(pipe):
    read, write = pipe
    journal = Journal(write)
    journal.configure("console", "info")
    journal.warning("draining", delay=5.0)
    assert "[warning  ] draining" in os.read(read, 1000).decode()


@pytest.mark.parametrize(("form", "is_json"), [("auto", False), ("console", False), ("json", True)])
def test_a_terminal_has_people_before_it_unless_the_operator_says_otherwise(form, is_json):
    ours, theirs = pty.openpty()
    journal = Journal(theirs)
    journal.configure(form, "info")
    journal.info("draining")
    line = os.read(ours, 1000)
    os.close(ours)
    os.close(theirs)
    assert line.startswith(b"{") is is_json


def test_lines_below_the_level_are_left_out(pipe):
    read, write = pipe
    journal = Journal(write)
    journal.configure("json", "error")
    journal.info("one")
    journal.warning("two")
    journal.fault(ValueError("three"))
    assert os.read(read, 1000).count(b"\n") == 1


def test_what_is_said_is_said_at_any_level(pipe):
    read, write = pipe
    journal = Journal(write)
    journal.configure("json", "error")
    journal.say("Tokenweir serves")
    assert os.read(read, 1000) == b"Tokenweir serves\n"


def test_an_output_that_nobody_reads_is_not_waited_for(pipe):
    _, write = pipe
    journal = Journal(write)
    for _ in range(2000):
        journal.info("x" * 100)


def test_an_output_that_is_closed_is_no_error():
    read, write = os.pipe()
    os.close(read)
    Journal(write).info("nobody")
    os.close(write)
