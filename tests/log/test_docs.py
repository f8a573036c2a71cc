"""docs/logging.md and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import structlog

from gateway.config.render import literal
from gateway.log import LogSettings
from gateway.log.canonical import FIELDS

DOCS = (Path(__file__).parents[2] / "docs" / "logging.md").read_text()
REQUEST, OTHER = DOCS.split("## The line of a request")[1].split("## Other lines")


def _documented(part: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)


def test_every_field_of_a_request_is_documented_in_its_order(written, outcome):
    written.configure(log_addresses=True).log_outcome(outcome, "192.0.2.1")
    assert _documented(REQUEST) == list(written.line) == ["timestamp", "level", "event", *FIELDS]


def test_the_fields_of_other_lines_are_documented(written):
    try:
        {}["missing"]
    except KeyError:
        structlog.stdlib.get_logger().exception("failed", logger="x", where="y")
    assert set(_documented(OTHER)) == set(written.line) - {"timestamp", "level", "event"}


@pytest.mark.parametrize("key", LogSettings.model_fields)
def test_every_setting_is_documented_with_its_default(key):
    field = LogSettings.model_fields[key]
    default = literal(getattr(LogSettings(), key), field).strip('"')
    assert f"| `[log] {key}` | `{default}` |" in DOCS
    assert field.description
