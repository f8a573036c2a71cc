"""What an outcome derives from its facts."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.core.outcome import Outcome, Usage

BARE = Outcome(**{field.name: None for field in dataclasses.fields(Outcome)})


@pytest.mark.parametrize(
    ("usage", "seconds", "speed"),
    [
        (Usage(output_tokens=30), 1.5, 20.0),
        (Usage(output_tokens=30), 0.0, None),
        (None, 1.5, None),
        (Usage(), None, None),
    ],
)
def test_tokens_per_second_are_over_the_time_in_which_they_came(usage, seconds, speed):
    assert dataclasses.replace(BARE, usage=usage, output_seconds=seconds).tokens_per_second == speed


def test_cache_writes_of_both_lifetimes_are_cache_creation():
    assert Usage(cache_write_5m_tokens=3, cache_write_1h_tokens=4).cache_creation_tokens == 7
