"""What an upstream says of its limits: how it is read, and for how long it is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Call
from gateway.core.pauses import MAX_PAUSES, Pause, Pauses, kind_of, until_refilled

NOW = 1_764_000_000.0  # 2025-11-24T16:00:00Z
OPUS, HAIKU = ("/v1/messages", "claude-opus"), ("/v1/messages", "claude-haiku")


def exhausted(reset: str, name: str = "requests") -> dict[str, str]:
    return {f"anthropic-ratelimit-{name}-remaining": "0", f"anthropic-ratelimit-{name}-reset": reset}


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("2025-11-24T16:00:12Z", 12.0),
        ("2025-11-24T17:00:12+01:00", 12.0),
        ("2025-11-24T16:00:12", 12.0),
        ("2025-11-24T16:00:00.500Z", 0.5),
        ("1764000030", 30.0),
        ("30", 30.0),
        ("2025-11-24T15:59:00Z", 0.0),
        ("-5", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("6m0s", 0.0),
        ("", 0.0),
        ("0001-01-01T00:00:00+23:59", 0.0),
        ("9999-12-31T23:59:59-23:59", 251_638_387_139.0),
    ],
)
def test_a_reset_in_every_form(reset, seconds):
    assert until_refilled(exhausted(reset), NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("name", ["requests", "tokens", "input-tokens", "output-tokens"])
def test_each_of_claudes_limits_counts(name):
    assert until_refilled(exhausted("7", name), NOW) == 7.0


def test_the_longest_of_several_counts():
    assert until_refilled({**exhausted("7"), **exhausted("9", "tokens"), **exhausted("", "input-tokens")}, NOW) == 9.0


@pytest.mark.parametrize("remaining", ["1", "49", "", "soon"])
def test_while_something_remains_there_is_nothing_to_say(remaining):
    assert until_refilled({**exhausted("7"), "anthropic-ratelimit-requests-remaining": remaining}, NOW) is None


def test_a_limit_without_a_time_says_nothing_useful():
    assert until_refilled({"anthropic-ratelimit-requests-remaining": "0"}, NOW) == 0.0
    assert until_refilled({}, NOW) is None


@given(st.text(max_size=40))
def test_no_text_whatever_breaks_it(text):
    assert 0 <= until_refilled(exhausted(text), NOW) < float("inf")


def test_a_kind_of_call_is_its_route_and_model():
    call = Call("POST", "/v1/messages?beta=true", b"", {}, model="claude-opus")
    assert kind_of(call) == OPUS
    assert kind_of(Call("POST", "/v1/messages/count_tokens", b"", {}, model="claude-opus")) != OPUS


def test_a_pause_is_over_when_it_is_over():
    pauses = Pauses(60)
    assert pauses.of(OPUS, 0.0) is None
    assert pauses.add(OPUS, 0.0, 5.0, hint=False)
    assert pauses.of(OPUS, 4.9) == Pause(5.0, hint=False)
    assert pauses.of(HAIKU, 4.9) is None
    assert pauses.of(OPUS, 5.0) is None
    assert pauses._pauses == {}


def test_what_is_told_for_long_is_believed_for_less():
    pauses = Pauses(60)
    pauses.add(OPUS, 0.0, 3600.0, hint=False)
    assert pauses.of(OPUS, 59.0) == Pause(60.0, hint=False)
    assert pauses.of(OPUS, 60.0) is None


@pytest.mark.parametrize(("believe", "seconds"), [(0, 5.0), (60, 0.0)])
def test_nothing_is_believed_where_that_is_configured_and_no_time_is_no_pause(believe, seconds):
    pauses = Pauses(believe)
    assert not pauses.add(OPUS, 0.0, seconds, hint=False)
    assert pauses.of(OPUS, 0.0) is None


def test_only_what_was_not_known_is_news():
    pauses = Pauses(60)
    assert pauses.add(OPUS, 0.0, 5.0, hint=True)
    assert not pauses.add(OPUS, 1.0, 5.0, hint=True)
    assert pauses.add(OPUS, 1.0, 5.0, hint=False)
    assert not pauses.add(OPUS, 2.0, 5.0, hint=False)
    assert pauses.of(OPUS, 6.5) is not None
    assert pauses.add(OPUS, 8.0, 5.0, hint=False)


def test_a_hint_does_not_weaken_a_refusal():
    pauses = Pauses(60)
    pauses.add(OPUS, 0.0, 5.0, hint=False)
    assert not pauses.add(OPUS, 1.0, 50.0, hint=True)
    assert pauses.of(OPUS, 1.0) == Pause(5.0, hint=False)


def test_however_many_models_callers_name_only_the_latest_are_remembered():
    pauses = Pauses(60)
    for n in range(MAX_PAUSES + 1):
        pauses.add(("/v1/messages", f"m{n}"), 0.0, 5.0, hint=False)
    assert len(pauses._pauses) == MAX_PAUSES
    assert pauses.of(("/v1/messages", "m0"), 1.0) is None
    assert pauses.of(("/v1/messages", f"m{MAX_PAUSES}"), 1.0) is not None
