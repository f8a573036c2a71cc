"""What every hold store does, case by case; the interleavings are in test_interleavings."""

from __future__ import annotations

import pytest

from gateway.core.quota.holds import (
    ENDED,
    FIRST_LEASE,
    HELD_RETRY_AFTER,
    LEASE,
    ONE_REQUEST,
    RENEW_EVERY,
    Held,
    LimitState,
    Overshoot,
    Refused,
)
from gateway.core.quota.limits import AppliedLimit


def requests(amount, key="tenant:acme:requests:60", window=60.0):
    return AppliedLimit(key, f"{key.partition(':')[0]}-requests-per-minute", "tenant", "requests", amount, window)


def streams(amount, key="key:acme:k1:concurrent"):
    return AppliedLimit(key, f"{key.partition(':')[0]}-concurrent-streams", "key", "concurrent", amount, None)


DAY = 86_400.0


def tokens(amount, key="tenant:acme:tokens:60", window=60.0):
    return AppliedLimit(key, "tenant-tokens-per-minute", "tenant", "tokens", amount, window)


def budget(amount, span="month", unit="usd"):
    return AppliedLimit(f"tenant:acme:{unit}:{span}", f"tenant-{unit}-per-{span}", "tenant", unit, amount, None, span)


async def test_a_hold_tells_its_lease_and_the_state_of_each_limit(at):
    held = await at.reserve("a", 100.0, requests(10), streams(2))
    assert held == Held(
        100.0 + FIRST_LEASE,
        100.0,
        (
            LimitState("tenant-requests-per-minute", "requests", 10, 0, 1, 60.0, 60.0),
            LimitState("key-concurrent-streams", "concurrent", 2, 0, 1, None, None),
        ),
    )


async def test_the_eleventh_request_is_refused_until_the_first_leaves_the_window(at):
    for n in range(10):
        await at.reserve(f"r{n}", 100.0 + n, requests(10))
        await at.settle(f"r{n}", 100.0 + n)
    refused = await at.reserve("r10", 110.0, requests(10))
    assert isinstance(refused, Refused)
    assert (refused.limit, refused.retry_after) == ("tenant-requests-per-minute", 50.0)
    assert refused.states == (LimitState("tenant-requests-per-minute", "requests", 10, 10, 0, 50.0, 60.0),)
    assert isinstance(await at.reserve("r11", 160.0, requests(10)), Held)


@pytest.mark.parametrize("end", ["settle", "cancel"])
async def test_a_slot_is_free_the_moment_its_request_ends(at, end):
    await at.reserve("a", 100.0, streams(1))
    refused = await at.reserve("b", 100.0, streams(1))
    assert (refused.limit, refused.retry_after) == ("key-concurrent-streams", HELD_RETRY_AFTER)
    await getattr(at, end)("a", 100.0)
    assert isinstance(await at.reserve("c", 100.0, streams(1)), Held)


async def test_a_refused_request_holds_nothing_and_costs_nothing(at):
    await at.reserve("a", 100.0, streams(1))
    for n in range(5):
        await at.reserve(f"no{n}", 100.0, requests(10), streams(1))
    assert await at.remaining(100.0, requests(10), streams(1)) == [10, 0]
    await at.settle("a", 101.0)
    assert isinstance(await at.reserve("no1", 101.0, requests(10), streams(1)), Held)


async def test_of_several_refusing_limits_the_longest_wait_is_named(at):
    hour = requests(1, "user:acme:u:requests:3600", 3600.0)
    minute = requests(1)
    await at.reserve("a", 100.0, streams(1), hour, minute)
    refused = await at.reserve("b", 101.0, streams(1), hour, minute)
    assert (refused.limit, refused.retry_after) == ("user-requests-per-minute", 3599.0)


async def test_a_request_over_the_limit_by_itself_is_told_that_waiting_does_not_help(at):
    refused = await at.reserve("a", 100.0, requests(3), rates={"requests": 4})
    assert (refused.limit, refused.retry_after) == ("tenant-requests-per-minute", None)


async def test_a_request_without_a_stream_takes_no_slot(at):
    await at.reserve("a", 100.0, requests(10), streams(1), budgets=ONE_REQUEST)
    assert await at.remaining(100.0, requests(10), streams(1)) == [9, 1]


async def test_settle_keeps_the_request_in_its_windows_and_cancel_gives_it_back(at):
    await at.reserve("kept", 100.0, requests(10))
    await at.reserve("back", 101.0, requests(10))
    await at.settle("kept", 102.0)
    await at.cancel("back", 102.0)
    assert await at.remaining(102.0, requests(10)) == [9]


async def test_a_second_reserve_of_the_same_request_takes_nothing_more(at):
    first = await at.reserve("a", 100.0, requests(10), streams(2))
    assert await at.reserve("a", 100.0, requests(10), streams(2)) == first


@pytest.mark.parametrize("first", ["settle", "cancel"])
@pytest.mark.parametrize("second", ["settle", "cancel"])
async def test_the_first_end_of_a_request_counts(at, first, second):
    await at.reserve("a", 100.0, requests(10), streams(2))
    await getattr(at, first)("a", 101.0)
    after_first = await at.remaining(102.0, requests(10), streams(2))
    await getattr(at, second)("a", 103.0)
    assert await at.remaining(104.0, requests(10), streams(2)) == after_first


@pytest.mark.parametrize("end", ["settle", "cancel"])
async def test_a_reserve_that_arrives_after_its_end_takes_nothing(at, end):
    """The caller gave up on a reserve whose answer it never saw."""
    await getattr(at, end)("late", 100.0)
    assert await at.reserve("late", 100.5, requests(10), streams(1)) == Refused(ENDED, None, False, ())
    assert await at.remaining(100.5, requests(10), streams(1)) == [10, 1]


async def test_a_renewed_lease_lasts(at):
    await at.reserve("a", 100.0, streams(1))
    for now in (109.0, 109.0 + RENEW_EVERY, 109.0 + 2 * RENEW_EVERY):
        assert await at.renew(["a"], now) == frozenset()
    last = 109.0 + 2 * RENEW_EVERY
    assert isinstance(await at.reserve("b", last + LEASE - 0.5, streams(1)), Refused)
    assert isinstance(await at.reserve("b", last + LEASE, streams(1)), Held)


async def test_a_lease_that_runs_out_frees_the_slot_and_stays_in_the_window(at):
    await at.reserve("crashed", 100.0, requests(10), streams(1))
    assert await at.remaining(100.0 + FIRST_LEASE - 0.5, requests(10), streams(1)) == [9, 0]
    assert await at.remaining(100.0 + FIRST_LEASE, requests(10), streams(1)) == [9, 1]


async def test_a_late_renew_takes_the_slot_again_even_over_the_limit(at):
    """The stream does run: counting it is honest, and the next ones wait."""
    await at.reserve("a", 100.0, streams(1))
    await at.reserve("b", 120.0, streams(1))
    assert await at.renew(["a"], 121.0) == frozenset()
    await at.settle("b", 122.0)
    assert await at.remaining(122.0, streams(1)) == [0]
    assert isinstance(await at.reserve("c", 122.0, streams(1)), Refused)
    await at.settle("a", 123.0)
    assert await at.remaining(123.0, streams(1)) == [1]


async def test_over_the_limit_the_remainder_is_zero_and_what_takes_nothing_is_admitted(at):
    await at.reserve("a", 100.0, streams(1))
    await at.reserve("b", 120.0, streams(1))
    await at.renew(["a", "b"], 121.0)
    assert await at.remaining(122.0, streams(1)) == [0]


async def test_a_late_settle_ends_an_expired_request_for_good(at):
    await at.reserve("a", 100.0, requests(10), streams(1))
    await at.settle("a", 130.0)
    assert await at.renew(["a"], 131.0) == {"a"}
    assert await at.remaining(132.0, requests(10), streams(1)) == [9, 1]


async def test_a_late_cancel_of_an_expired_request_gives_back(at):
    await at.reserve("a", 100.0, requests(10), streams(1))
    await at.cancel("a", 130.0)
    assert await at.remaining(132.0, requests(10), streams(1)) == [10, 1]


async def test_an_expired_request_is_not_admitted_again(at):
    await at.reserve("a", 100.0, requests(10))
    assert (await at.reserve("a", 130.0, requests(10))).limit == ENDED


async def test_renew_names_what_it_does_not_know(at):
    await at.reserve("a", 100.0, streams(1))
    await at.reserve("b", 100.0, streams(1), budgets={}, rates={})
    await at.settle("b", 101.0)
    assert await at.renew(["a", "b", "never"], 101.0) == {"b", "never"}


async def test_a_clock_that_goes_back_frees_nothing_and_admits_nothing_more(at):
    await at.reserve("a", 1000.0, requests(1), streams(1))
    assert isinstance(await at.reserve("b", 1.0, requests(1)), Refused)
    assert isinstance(await at.reserve("c", 1.0, streams(1)), Refused)
    assert isinstance(await at.reserve("d", 1060.0, requests(1), streams(1)), Held)


ASKED = {"requests": 1, "tokens": 30, "usd": 100}
USED = {"requests": 1, "tokens": 70, "usd": 400}


async def test_a_budget_holds_the_most_and_a_window_what_a_request_usually_takes(at):
    held = await at.reserve(
        "a",
        100.0,
        tokens(1000),
        budget(5000),
        budget(90, "day", "tokens"),
        budgets={"tokens": 80, "usd": 900},
        rates={"tokens": 40},
    )
    assert [(state.used, state.held, state.remaining) for state in held.states] == [
        (0, 40, 960),
        (0, 900, 4100),
        (0, 80, 10),
    ]


async def test_settle_replaces_what_was_held_by_what_was_used(at):
    limits = tokens(1000), budget(5000)
    await at.reserve("a", 100.0, *limits, budgets={"usd": 900}, rates={"tokens": 40})
    assert await at.settle("a", 101.0, USED) == ()
    assert await at.standing(101.0, *limits) == [(70, 0), (400, 0)]


async def test_a_limit_counts_only_its_own_unit(at):
    limits = requests(10), tokens(1000), budget(5000, "day")
    await at.reserve("a", 100.0, *limits, budgets={"usd": 5}, rates={"requests": 1, "tokens": 9})
    await at.settle("a", 100.0, USED)
    assert await at.standing(100.0, *limits) == [(1, 0), (70, 0), (400, 0)]


async def test_a_full_budget_refuses_until_its_period_ends(at):
    month = 31 * DAY
    await at.reserve("a", 100.0, budget(1000), budgets={"usd": 900})
    await at.settle("a", 101.0, {"usd": 900})
    refused = await at.reserve("b", 200.0, budget(1000), budgets={"usd": 101})
    assert (refused.limit, refused.retry_after, refused.spent) == ("tenant-usd-per-month", month - 200.0, True)
    assert refused.states[0].reset == month - 200.0
    assert isinstance(await at.reserve("c", 200.0, budget(1000), budgets={"usd": 100}), Held)
    assert isinstance(await at.reserve("d", month, budget(1000), budgets={"usd": 1000}), Held)


async def test_what_others_only_hold_of_a_budget_may_come_back_any_moment(at):
    await at.reserve("a", 100.0, budget(1000), budgets={"usd": 900})
    refused = await at.reserve("b", 100.0, budget(1000), budgets={"usd": 900})
    assert (refused.retry_after, refused.spent) == (HELD_RETRY_AFTER, False)
    await at.settle("a", 101.0, {"usd": 100})
    assert isinstance(await at.reserve("b", 101.0, budget(1000), budgets={"usd": 900}), Held)


async def test_a_request_over_a_budget_by_itself_is_told_that_waiting_does_not_help(at):
    refused = await at.reserve("a", 100.0, budget(1000), requests(1), budgets={"usd": 1001})
    assert (refused.limit, refused.retry_after, refused.spent) == ("tenant-usd-per-month", None, False)


async def test_a_day_and_a_month_count_apart(at):
    day, month = budget(10, "day"), budget(15)
    for n in range(2):
        await at.reserve(f"r{n}", n * DAY, day, month, budgets={"usd": 7})
        await at.settle(f"r{n}", n * DAY, {"usd": 7})
    assert await at.standing(DAY, day, month) == [(7, 0), (14, 0)]


async def test_an_answer_belongs_to_the_period_of_its_admission(at):
    """It began before midnight; what it costs is not tomorrow's."""
    day = budget(1000, "day")
    await at.reserve("a", DAY - 1, day, budgets={"usd": 900})
    await at.renew(["a"], DAY + 5, {"usd": 300})
    await at.settle("a", DAY + 10, {"usd": 500})
    assert await at.standing(DAY + 10, day) == [(0, 0)]


async def test_settling_late_changes_the_window_of_the_admission_only(at):
    await at.reserve("a", 100.0, tokens(1000), rates={"tokens": 10})
    await at.renew(["a"], 105.0)
    await at.settle("a", 159.0, {"tokens": 500})
    assert await at.standing(159.0, tokens(1000)) == [(500, 0)]
    assert await at.standing(160.0, tokens(1000)) == [(0, 0)]


async def test_settling_after_its_window_takes_nothing_from_anybody(at):
    await at.reserve("a", 100.0, tokens(1000), rates={"tokens": 10})
    await at.renew(["a"], 105.0)
    await at.settle("a", 161.0, {"tokens": 500})
    assert await at.standing(161.0, tokens(1000)) == [(0, 0)]


async def test_cancel_gives_back_every_amount(at):
    limits = tokens(1000), budget(5000)
    await at.reserve("a", 100.0, *limits, budgets={"usd": 900}, rates={"tokens": 40})
    await at.cancel("a", 101.0)
    assert await at.standing(101.0, *limits) == [(0, 0), (0, 0)]


async def test_a_lease_that_runs_out_before_a_checkpoint_costs_what_it_was_to_ask(at):
    limits = tokens(1000), budget(5000)
    await at.reserve("a", 100.0, *limits, budgets={"usd": 900}, rates={"tokens": 40}, spent=ASKED)
    assert await at.standing(100.0 + FIRST_LEASE, *limits) == [(30, 0), (100, 0)]


async def test_a_lease_that_runs_out_is_settled_at_its_last_checkpoint(at):
    limits = tokens(1000), budget(5000)
    await at.reserve("a", 100.0, *limits, budgets={"usd": 900}, rates={"tokens": 40}, spent=ASKED)
    await at.renew(["a"], 105.0, {"tokens": 35, "usd": 150})
    await at.renew(["a"], 110.0, {"tokens": 38, "usd": 200})
    assert await at.standing(110.0, *limits) == [(0, 40), (0, 900)]
    assert await at.standing(110.0 + LEASE, budget(5000)) == [(200, 0)]


async def test_a_late_settle_replaces_the_checkpoint(at):
    limits = tokens(1000), budget(5000)
    await at.reserve("a", 100.0, *limits, budgets={"usd": 900}, rates={"tokens": 40}, spent=ASKED)
    await at.settle("a", 130.0, USED)
    assert await at.standing(130.0, *limits) == [(70, 0), (400, 0)]


async def test_a_late_cancel_takes_the_checkpoint_back(at):
    limits = tokens(1000), budget(5000)
    await at.reserve("a", 100.0, *limits, budgets={"usd": 900}, rates={"tokens": 40}, spent=ASKED)
    await at.cancel("a", 130.0)
    assert await at.standing(130.0, *limits) == [(0, 0), (0, 0)]


async def test_a_late_renew_holds_everything_again(at):
    limits = tokens(1000), budget(5000)
    await at.reserve("a", 100.0, *limits, budgets={"usd": 900}, rates={"tokens": 40}, spent=ASKED)
    await at.renew(["a"], 130.0, {"tokens": 35, "usd": 150})
    assert await at.standing(130.0, *limits) == [(0, 40), (0, 900)]
    await at.settle("a", 131.0, USED)
    assert await at.standing(131.0, *limits) == [(70, 0), (400, 0)]


async def test_what_goes_past_a_budget_is_told_once_and_counts(at):
    day, month = budget(500, "day"), budget(1000)
    for name in ("a", "b"):
        await at.reserve(name, 100.0, day, month, budgets={"usd": 200})
    assert await at.settle("a", 101.0, {"usd": 450}) == ()
    assert await at.settle("b", 101.0, {"usd": 600}) == (
        Overshoot("tenant-usd-per-day", "usd", 550),
        Overshoot("tenant-usd-per-month", "usd", 50),
    )
    assert await at.settle("b", 101.0, {"usd": 600}) == ()
    assert await at.standing(101.0, day, month) == [(1050, 0), (1050, 0)]
    assert await at.remaining(101.0, day) == [0]


async def test_a_look_holds_nothing(at):
    await at.reserve("a", 100.0, requests(10), streams(2), budget(50), budgets={"concurrent": 1, "usd": 20})
    assert await at.standing(100.0, requests(10), streams(2), budget(50)) == [(0, 1), (0, 1), (0, 20)]
    assert await at.standing(100.0, requests(10), streams(2), budget(50)) == [(0, 1), (0, 1), (0, 20)]


async def test_a_clock_that_goes_back_does_not_begin_an_earlier_period(at):
    await at.reserve("a", DAY + 5, budget(10, "day"), budgets={"usd": 10})
    await at.settle("a", DAY + 5, {"usd": 10})
    refused = await at.reserve("b", DAY - 5, budget(10, "day"), budgets={"usd": 1})
    assert (refused.spent, refused.retry_after) == (True, DAY - 5)
