"""docs/errors.md and the errors say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.claude import STATUS_OF_TYPE, error_from_claude
from gateway.core.errors import ClientError, GatewayError, GatewayFault, UpstreamCredential, UpstreamError

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (\d+) \| (\w+) \| (yes|no) \| (\w+) \| \S", re.MULTILINE)
CLAUDES_ROW = re.compile(r"^\| `upstream_(\w+)` \| (\d+) \| (yes|no) \| \S", re.MULTILINE)


def errors(kind: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from errors(child)


def row(kind: type[GatewayError]) -> tuple[str, ...]:
    return (kind.code, str(kind.status), kind.claude_type, "yes" if kind.retryable else "no", kind.origin)


def test_every_error_is_documented_as_it_is_and_no_other():
    assert set(ROW.findall(PAGE)) == {row(kind) for kind in errors()}


def test_no_error_is_documented_twice():
    codes = [found[0] for found in ROW.findall(PAGE)]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", [ClientError, GatewayFault, UpstreamError])
def test_each_origin_has_a_section_with_its_errors(kind):
    sections = [section for section in PAGE.split("\n### ") if f"| `{kind.code}` |" in section]
    assert [found[4] for found in ROW.findall(sections[0])] == [kind.origin] * len(ROW.findall(sections[0]))


def test_every_error_that_claude_makes_of_a_request_is_documented_as_it_is():
    made = {name: error_from_claude({"error": {"type": name}}) for name in STATUS_OF_TYPE}
    passed_on = {
        (name, str(error.status), "yes" if error.retryable else "no")
        for name, error in made.items()
        if not isinstance(error, UpstreamCredential)
    }
    assert set(CLAUDES_ROW.findall(PAGE)) == passed_on
