"""The throttle of failed authentications."""

from __future__ import annotations

import pytest

from gateway.core.errors import TooManyFailures
from gateway.identity.settings import KeySettings
from gateway.identity.throttle import FailureThrottle


def throttle(failures=3, addresses=10):
    return FailureThrottle(KeySettings(failures_per_minute=failures, throttle_addresses=addresses))


def test_failures_up_to_the_limit_are_let_through_and_the_next_one_waits_for_the_oldest():
    guard = throttle()
    for now in (0.0, 10.0, 20.0):
        guard.check("a", now)
        guard.failed("a", now)
    with pytest.raises(TooManyFailures) as refused:
        guard.check("a", 25.0)
    assert refused.value.retry_after == 35.0
    guard.check("a", 60.0)


def test_no_sixty_seconds_hold_more_failures_than_the_limit():
    guard = throttle()
    let_through, waits = [], []
    for step in range(400):
        now = step * 0.7
        try:
            guard.check("a", now)
        except TooManyFailures as refused:
            waits.append(refused.retry_after)
        else:
            guard.failed("a", now)
            let_through.append(now)
    assert len(let_through) > 10
    assert all(0 < wait <= 60 for wait in waits)
    assert all(later - earlier >= 60 for earlier, later in zip(let_through, let_through[3:], strict=False))


def test_one_address_does_not_throttle_another():
    guard = throttle(failures=1)
    guard.failed("a", 0.0)
    guard.check("b", 0.0)


def test_the_address_without_failures_for_longest_is_forgotten_first():
    guard = throttle(failures=1, addresses=2)
    for address in "abc":
        guard.failed(address, 0.0)
    guard.check("a", 1.0)
    with pytest.raises(TooManyFailures):
        guard.check("c", 1.0)
