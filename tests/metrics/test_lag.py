"""The loop's lag is measured on a schedule that does not slip."""

from __future__ import annotations

import asyncio

import pytest

from gateway.metrics import sample_loop_lag
from gateway.metrics.lag import Schedule


def test_a_punctual_loop_lags_by_nothing():
    schedule = Schedule(0.25, now=100.0)
    assert schedule.wait(100.0) == 0.25
    assert list(schedule.lags(100.25)) == [0.0]
    assert schedule.wait(100.25) == 0.25


def test_waking_early_is_no_sample():
    schedule = Schedule(0.25, now=100.0)
    assert list(schedule.lags(100.2)) == []
    assert schedule.wait(100.25) == 0.0


def test_every_due_time_that_a_blocked_loop_missed_counts_with_its_own_lag():
    schedule = Schedule(0.25, now=0.0)
    assert list(schedule.lags(1.0)) == [0.75, 0.5, 0.25, 0.0]


def test_a_late_wake_up_does_not_move_the_next_due_time():
    schedule = Schedule(0.25, now=0.0)
    assert list(schedule.lags(0.4)) == [pytest.approx(0.15)]
    assert schedule.wait(0.4) == pytest.approx(0.1)


def test_after_a_very_long_stop_the_schedule_starts_anew():
    schedule = Schedule(0.25, now=0.0)
    assert len(list(schedule.lags(1_000_000.0))) == 1000
    assert list(schedule.lags(1_000_000.0)) == []
    assert schedule.wait(1_000_000.0) == 0.25


async def test_the_sampler_reports_until_it_is_cancelled():
    seen: list[float] = []
    enough = asyncio.Event()

    def observe(lag: float) -> None:
        seen.append(lag)
        if len(seen) == 3:
            enough.set()

    async with asyncio.TaskGroup() as group:
        sampler = group.create_task(sample_loop_lag(observe, 0.01))
        await enough.wait()
        sampler.cancel()
    assert min(seen) >= 0.0
