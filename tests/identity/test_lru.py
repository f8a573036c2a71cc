"""The bounded map."""

from __future__ import annotations

from gateway.identity.lru import Lru


def test_the_least_recently_used_entry_goes_first():
    lru = Lru[str, int](2)
    lru.put("a", 1)
    lru.put("b", 2)
    assert lru.get("a") == 1
    lru.put("c", 3)
    assert ("a" in lru, "b" in lru, "c" in lru, len(lru)) == (True, False, True, 2)


def test_writing_an_entry_again_counts_as_use_and_makes_no_second():
    lru = Lru[str, int](2)
    for name, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        lru.put(name, value)
    assert (lru.get("a"), lru.get("b"), lru.get("c")) == (3, None, 4)


def test_entries_are_dropped_one_by_one_or_all():
    lru = Lru[str, int](3)
    for name in "abc":
        lru.put(name, 1)
    lru.drop("a")
    lru.drop("a")
    assert len(lru) == 2
    lru.clear()
    assert len(lru) == 0
