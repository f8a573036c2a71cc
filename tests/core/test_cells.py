"""Numbers that one process writes and another reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.cells import Cells, copy_of, key_of, numbers_of


def memory(size=4096):
    return memoryview(bytearray(size))


def test_memory_in_which_nothing_was_written_holds_nothing():
    assert list(numbers_of(memory())) == []
    fresh = memory()
    Cells(fresh)
    assert list(numbers_of(fresh)) == []


def test_a_number_is_zero_until_it_is_set_and_then_what_was_set_last():
    shared = memory()
    cells = Cells(shared)
    index = cells.index(b"requests")
    assert list(numbers_of(shared)) == [(b"requests", 0.0)]
    cells.numbers[index] = 2.0
    cells.numbers[index] += 0.5
    assert list(numbers_of(shared)) == [(b"requests", 2.5)]


def test_a_key_has_one_place():
    cells = Cells(memory())
    assert cells.index(b"one") == cells.index(b"one") != cells.index(b"other")


@given(st.dictionaries(st.binary(max_size=40), st.floats(allow_nan=False), max_size=20))
def test_whatever_was_written_is_read(numbers):
    shared = memory()
    cells = Cells(shared)
    for key, number in numbers.items():
        cells.numbers[cells.index(key)] = number
    assert dict(numbers_of(shared)) == numbers


@pytest.mark.parametrize("size", [8, 16, 24])
def test_what_has_no_room_is_refused_and_what_is_there_stays(size):
    shared = memory(size + 24)
    cells = Cells(shared)
    cells.numbers[cells.index(b"first")] = 1.0
    assert cells.index(b"x" * 24) is None
    assert cells.index(b"first") is not None
    assert list(numbers_of(shared)) == [(b"first", 1.0)]


def test_a_record_fills_the_memory_to_its_last_byte():
    shared = memory(8 + 8 + 8 + 8)
    assert Cells(shared).index(b"12345678") == 3
    assert Cells(memory(8 + 8 + 8 + 7 + 1)).index(b"123456789") is None


def test_a_copy_is_what_was_written_when_it_was_made():
    shared = memory()
    cells = Cells(shared)
    index = cells.index(b"requests")
    cells.numbers[index] = 1.0
    copy = copy_of(shared)
    cells.numbers[index] = 2.0
    assert list(numbers_of(copy)) == [(b"requests", 1.0)]
    assert list(numbers_of(copy_of(memory()))) == []


def test_a_key_tells_a_metrics_labels_apart():
    one, other = (key_of("counter", "a", "a_total", {"x": value}, "A.", "sum") for value in "12")
    assert one != other
