"""The log as a process has it: configured for real, written to a real file descriptor."""

from __future__ import annotations

import json
import logging
import os

import pytest
import structlog

from gateway.core.outcome import Outcome, Usage
from gateway.log import LogSettings, configure_logging
from gateway.log.library import LibraryHandler


class Written:
    """A configured log and what it wrote."""

    def __init__(self, path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.log = None

    def configure(self, *, tty=False, **settings):
        self.log = configure_logging(LogSettings(**settings), tty=tty, fd=self.fd)
        return self.log

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def line(self) -> dict:
        (line,) = self.lines
        return line


@pytest.fixture
def written(tmp_path):
    root = logging.getLogger()
    level = root.level
    made = Written(tmp_path / "log")
    made.configure()
    yield made
    os.close(made.fd)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.setLevel(level)
    for handler in [h for h in root.handlers if isinstance(h, LibraryHandler)]:
        root.removeHandler(handler)


@pytest.fixture
def outcome():
    return Outcome(
        request_id="req_1",
        upstream_request_id="req_up",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        route="/v1/messages",
        method="POST",
        dialect="messages",
        status=200,
        kind="done",
        phase="finished",
        error_code="rate_limited",
        error_origin="client",
        limit="tenant-requests-per-minute",
        tenant="shop",
        key_id="k7Qm",
        model="claude-a",
        model_answered="claude-a-1",
        stream=True,
        upstream="claude",
        attempts=1,
        usage=Usage(10, 20, 5, 7, 8, 9, 1, estimated=True),
        cost_usd=0.25,
        stop_reason="end_turn",
        first_token=0.3,
        first_text=0.5,
        upstream_first_token=0.29,
        overhead=0.0021,
        duration=2.5,
        output_seconds=2.0,
        longest_gap=0.4,
        client_bytes=1234,
        client_request_id="of-the-client",
    )
