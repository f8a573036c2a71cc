"""The configured log, as its readers see it."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace

import structlog

from gateway.log.library import LibraryHandler


def _fail():
    raise ValueError("S3cr3t")


def test_a_request_is_one_json_line(written, outcome):
    written.log.log_outcome(outcome)
    assert list(written.line)[:4] == ["timestamp", "level", "event", "request_id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written.line["timestamp"])
    assert (written.line["level"], written.line["event"]) == ("info", "request")


def test_an_address_is_logged_only_when_configured(written, outcome):
    written.log.log_outcome(outcome, "192.0.2.7")
    assert "192.0.2.7" not in written.text
    written.configure(log_addresses=True).log_outcome(outcome, "192.0.2.7")
    assert written.lines[1]["address"] == "192.0.2.7"


def test_the_level_silences_what_is_below_it(written, outcome):
    written.configure(level="warning").log_outcome(outcome)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("heard")
    assert written.line["event"] == "heard"


def test_context_of_the_request_is_on_our_other_lines(written):
    with structlog.contextvars.bound_contextvars(request_id="req_9"):
        structlog.get_logger().info("retrying")
    assert written.line["request_id"] == "req_9"


def test_a_secret_in_any_value_is_masked(written):
    structlog.get_logger().error("upstream said sk-ant-api03-S3cr3t", headers={"x-api-key": "tw_a_S3cr3t"})
    assert "S3cr3t" not in written.text
    assert written.line["event"] == "upstream said sk-ant-***"


def test_an_exception_is_logged_without_its_text(written):
    try:
        _fail()
    except ValueError as exc:
        structlog.get_logger().exception("failed", cause=exc)
    assert (written.line["error_type"], written.line["cause"]) == ("ValueError", "ValueError")
    assert "S3cr3t" not in written.text


def test_a_model_name_that_is_no_unicode_still_makes_a_line(written, outcome):
    written.log.log_outcome(replace(outcome, model="a\ud800"))
    assert written.line["model"] == "a?"


def test_a_line_break_in_a_value_stays_within_its_line(written, outcome):
    written.log.log_outcome(replace(outcome, model='x\n{"event":"forged"}'))
    assert len(written.text.splitlines()) == 1


def test_on_a_terminal_lines_are_columns(written, outcome):
    written.configure(tty=True).log_outcome(outcome)
    assert "request_id\x1b[0m=\x1b[35mreq_1" in written.text


def test_the_format_can_be_chosen(written, outcome):
    written.configure(tty=True, format="json").log_outcome(outcome)
    written.configure(format="console").log_outcome(outcome)
    json_line, console_line = written.text.splitlines()
    assert json_line.startswith("{")
    assert "\x1b" not in console_line


def test_a_callers_text_cannot_drive_the_terminal(written, outcome):
    written.configure(format="console").log_outcome(replace(outcome, model="\x1b[2J\nsk-ant-S3cr3t"))
    assert "\x1b" not in written.text
    assert "S3cr3t" not in written.text
    assert len(written.text.splitlines()) == 1


def test_a_trace_is_readable_on_the_console(written):
    written.configure(format="console")
    try:
        _fail()
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "\nValueError\n  " in written.text
    assert "S3cr3t" not in written.text


def test_configuring_again_replaces_what_was_configured(written):
    written.configure()
    logging.getLogger("aiohttp.server").error("once")
    assert len(written.lines) == 1
    assert sum(isinstance(h, LibraryHandler) for h in logging.getLogger().handlers) == 1


def test_lost_lines_are_counted(written, outcome):
    reading, writing = os.pipe()
    os.close(reading)
    spare, written.fd = written.fd, writing
    log = written.configure()
    log.log_outcome(outcome)
    assert log.dropped == 1
    os.close(writing)
    written.fd = spare


def test_lines_that_nobody_takes_wait_up_to_the_backlog_that_is_set(written, outcome):
    reading, writing = os.pipe()
    spare, written.fd = written.fd, writing
    log = written.configure(backlog=1)
    log.log_outcome(outcome)
    assert log.dropped == 1
    os.close(reading)
    os.close(writing)
    written.fd = spare


def test_flush_writes_what_waits(written, outcome):
    written.log.log_outcome(outcome)
    written.log.flush(0.1)
    assert written.line["event"] == "request"
