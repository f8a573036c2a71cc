"""What a store is still to be told."""

from __future__ import annotations

from gateway.core.quota.holds import Reservation
from gateway.quota.arrears import Arrears, End


def held(n):
    return Reservation(f"r{n}", ())


def test_ends_are_told_in_their_order_and_stay_until_they_are():
    arrears = Arrears(10)
    ends = [End(held(n), {"usd": n}) for n in range(3)]
    for end in ends:
        assert arrears.add(end) is None
    assert arrears.all() == tuple(ends)
    arrears.told(ends[1])
    arrears.told(ends[1])
    assert arrears.all() == (ends[0], ends[2])
    assert len(arrears) == 2


def test_the_first_end_of_a_request_counts():
    arrears = Arrears(10)
    arrears.add(End(held(1), {"usd": 5}))
    arrears.add(End(held(1), None))
    assert arrears.all() == (End(held(1), {"usd": 5}),)


def test_past_the_bound_the_oldest_is_forgotten():
    arrears = Arrears(2)
    assert [arrears.add(End(held(n), None)) for n in range(4)] == [None, None, held(0), held(1)]
    assert len(arrears) == 2
