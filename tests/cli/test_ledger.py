"""What the commands for the ledger share."""

from __future__ import annotations

import pytest

from gateway.cli.ledger import dollars, exact_dollars, shown


@pytest.mark.parametrize(
    ("nano", "short", "exact"),
    [
        (0, "0.000000", "0.000000000"),
        (499, "0.000000", "0.000000499"),
        (500, "0.000001", "0.000000500"),
        (999_999_999, "1.000000", "0.999999999"),
        (1_234_567_000_000_001, "1,234,567.000000", "1234567.000000001"),
    ],
)
def test_dollars_are_written_by_whole_numbers_so_that_no_digit_is_made_up(nano, short, exact):
    assert (dollars(nano), exact_dollars(nano)) == (short, exact)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("claude-é 5", "claude-é 5"), ("a\x1b[2J\n\x9b", "a\ufffd[2J\ufffd\ufffd"), ("x" * 5000, "x" * 100)],
)
def test_what_callers_chose_is_one_short_line_that_does_nothing_to_a_terminal(text, expected):
    assert shown(text) == expected
