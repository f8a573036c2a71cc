"""What is known of upstreams: learnt from answers, told once per change."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from gateway.core.errors import UpstreamUnavailable
from gateway.core.pauses import MAX_PAUSES
from gateway.upstream.routing import Upstreams
from gateway.upstream.settings import TransportSettings
from tests.support.upstreams import Watched

OPUS, HAIKU = ("/v1/messages", "claude-opus"), ("/v1/messages", "claude-haiku")


class Named:
    """An upstream that nobody asks."""

    def __init__(self, name: str) -> None:
        self.name = name


def known(*names: str, **settings) -> tuple[Upstreams, list, Watched]:
    watched = Watched()
    upstreams = Upstreams([Named(name) for name in names], TransportSettings(**settings), watched)
    return upstreams, upstreams._candidates, watched


def limited(candidate, seconds: float, now: float) -> None:
    candidate.declined(candidate.admit(now), OPUS, 429, {"retry-after": str(seconds)}, now)


def events(lines: list[dict]) -> list[tuple[str, str]]:
    return [(line["event"], line["log_level"]) for line in lines]


def test_every_change_of_a_breaker_is_one_line_with_its_cause():
    upstreams, (claude,), watched = known("claude", breaker_failures=2, breaker_cooldown=5)
    with capture_logs() as lines:
        for _ in range(2):
            claude.failed(claude.admit(0.0), 0.0, "upstream_timeout")
        assert upstreams.choose(OPUS, (), 1.0) is None
        _, probe = upstreams.choose(OPUS, (), 5.0)
        claude.answered(probe, OPUS, {}, 6.0)
        claude.ended(probe, 7.0)
    assert events(lines) == [
        ("upstream breaker opened", "warning"),
        ("upstream breaker half open", "info"),
        ("upstream breaker closed", "info"),
    ]
    assert lines[0] == {
        "event": "upstream breaker opened",
        "log_level": "warning",
        "upstream": "claude",
        "cause": "upstream_timeout",
        "seconds": 5,
    }
    assert [entry[2] for entry in watched.told] == ["open", "half_open", "closed"]


def test_a_refused_credential_is_told_once_until_it_is_taken_again():
    _, (claude,), _ = known("claude")
    with capture_logs() as lines:
        for _ in range(3):
            claude.declined(claude.admit(0.0), OPUS, 401, {}, 0.0)
        claude.answered(claude.admit(0.0), HAIKU, {}, 1.0)
        for _ in range(2):
            claude.answered(claude.admit(0.0), OPUS, {}, 1.0)
        claude.refused(OPUS, "upstream_credential", 2.0)
    assert events(lines) == [
        ("upstream refuses our credential", "error"),
        ("upstream takes our credential again", "info"),
        ("upstream refuses our credential", "error"),
    ]
    assert lines[0]["cause"] == "status 401"
    assert lines[0]["model"] == "claude-opus"


def test_however_many_models_are_refused_only_the_latest_are_remembered():
    _, (claude,), _ = known("claude")
    with capture_logs() as lines:
        for n in range(MAX_PAUSES + 1):
            claude.refused(("/v1/messages", f"m{n}"), "status 403", 0.0)
        claude.refused(("/v1/messages", "m0"), "status 403", 0.0)
    assert len(claude._refused) == MAX_PAUSES
    assert len(lines) == MAX_PAUSES + 2


def test_a_limit_is_told_once_until_it_is_over():
    _, (claude,), watched = known("claude")
    with capture_logs() as lines:
        for now in (0.0, 1.0, 6.5):
            limited(claude, 5, now)
    assert events(lines) == [("upstream is rate limited", "warning")] * 2
    assert [entry[:2] for entry in watched.told] == [("throttled", "claude")] * 2


def test_nobody_in_the_way_of_the_first():
    upstreams, (first, second), watched = known("first", "second")
    chosen, _ = upstreams.choose(OPUS, (), 0.0)
    assert chosen is first
    chosen, _ = upstreams.choose(OPUS, [first], 0.0)
    assert chosen is second
    assert upstreams.choose(OPUS, [first, second], 0.0) is None
    assert watched.told == []


def test_hints_change_the_order_and_nothing_else():
    upstreams, (first, second), _ = known("first", "second")
    first.refused(OPUS, "status 401", 0.0)
    assert upstreams.choose(OPUS, (), 1.0)[0] is second
    assert upstreams.choose(HAIKU, (), 1.0)[0] is first
    assert upstreams.choose(OPUS, [second], 1.0)[0] is first
    second.refused(OPUS, "status 401", 1.0)
    assert upstreams.choose(OPUS, (), 2.0)[0] is first


def test_one_with_a_hint_and_an_open_breaker_is_not_asked():
    upstreams, (claude,), _ = known("claude", breaker_failures=1, breaker_cooldown=5)
    claude.refused(OPUS, "status 401", 0.0)
    claude.failed(claude.admit(0.0), 0.0, "upstream_timeout")
    assert upstreams.choose(OPUS, (), 1.0) is None
    assert isinstance(upstreams.unavailable(1.0), UpstreamUnavailable)


def test_whoever_named_a_time_is_asked_before_it_by_those_alone_who_were_not_told_of_a_limit():
    upstreams, (first, second, third), _ = known("first", "second", "third")
    limited(first, 30, 0.0)
    limited(second, 30, 0.0)
    third.refused(OPUS, "status 401", 0.0)
    assert upstreams.choose(OPUS, (), 1.0)[0] is third
    assert upstreams.choose(OPUS, [third], 1.0, limited=True) is None
    assert upstreams.choose(OPUS, [third], 1.0)[0] is first
    third.failed(third.admit(1.0), 1.0, "upstream_timeout")
    limited(third, 30, 1.0)
    assert upstreams.choose(OPUS, (), 2.0)[0] is first
    assert upstreams.choose(OPUS, [third], 31.0)[0] is first


def test_one_whose_breaker_is_open_is_passed_over_also_for_one_that_is_asked_last():
    upstreams, (first, second), watched = known("first", "second", breaker_failures=1)
    first.failed(first.admit(0.0), 0.0, "upstream_timeout")
    second.refused(OPUS, "status 401", 0.0)
    assert upstreams.choose(OPUS, (), 1.0)[0] is second
    assert ("failover", "first", "breaker_open") in watched.told


def test_a_caller_is_told_when_the_first_of_all_breakers_lets_one_through():
    upstreams, (first, second), _ = known("first", "second", breaker_failures=1, breaker_cooldown=5)
    first.failed(first.admit(0.0), 0.0, "upstream_timeout")
    second.failed(second.admit(2.0), 2.0, "upstream_timeout")
    told = upstreams.unavailable(3.0)
    assert (told.retryable, told.retry_after) == (True, pytest.approx(2.0))
    assert upstreams.unavailable(9.0).retry_after == 0
