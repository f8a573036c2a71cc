"""Keys move to the current pepper when they are used; who is not able to write tries again."""

from __future__ import annotations

import threading

import pytest

from gateway.core.keys import Peppers
from gateway.database.errors import DatabaseFailed
from gateway.identity.rehashing import Rehashing

BOTH = Peppers.parse("1:the-old-pepper-of-all,2:the-new-pepper-of-all")
OLD = Peppers.parse("1:the-old-pepper-of-all")


class Writing:
    """The store's method, which fails as often as it is told to, and says when it was called."""

    def __init__(self, write, failures=0):
        self._write = write
        self._failures = failures
        self.called = threading.Semaphore(0)
        self.written = []

    def __call__(self, peppers, found):
        try:
            self.written.append([rehash.key_id for rehash in found])
            if self._failures:
                self._failures -= 1
                raise DatabaseFailed("no")
            self._write(peppers, found)
        finally:
            self.called.release()


@pytest.fixture
def made(store):
    store.create_tenant("shop")
    return store.create_key("shop", OLD)


def done(rehashing):
    """Wait for what is being written."""
    rehashing._writing.result(30)


def test_a_key_that_was_used_is_under_the_current_pepper_and_still_valid(store, made):
    row, key = made
    revision = store.revision()
    rehashing = Rehashing(store.rehash, BOTH)
    rehashing.note(key, row)
    rehashing.start()
    done(rehashing)
    rehashing.close()
    moved = store.fetch_key(row.id)
    assert moved.pepper_version == 2
    assert BOTH.verify(key, moved.pepper_version, moved.hash)
    assert store.live_keys_by_pepper() == {1: 0, 2: 1}
    assert store.revision() == revision


def test_a_key_under_the_current_pepper_is_left_alone(store, made):
    row, key = made
    writing = Writing(store.rehash)
    rehashing = Rehashing(writing, OLD)
    rehashing.note(key, row)
    rehashing.start()
    rehashing.close()
    assert writing.written == []


def test_what_could_not_be_written_is_tried_again(store, made):
    row, key = made
    writing = Writing(store.rehash, failures=1)
    rehashing = Rehashing(writing, BOTH)
    rehashing.note(key, row)
    for _ in range(2):
        rehashing.start()
        done(rehashing)
    rehashing.start()
    rehashing.close()
    assert writing.written == [[row.id], [row.id]]
    assert store.fetch_key(row.id).pepper_version == 2


def test_one_write_at_a_time(store, made):
    row, key = made
    gate = threading.Event()

    def slow(peppers, found):
        gate.wait(30)
        store.rehash(peppers, found)

    writing = Writing(slow)
    rehashing = Rehashing(writing, BOTH)
    for _ in range(3):
        rehashing.note(key, row)
        rehashing.start()
    gate.set()
    done(rehashing)
    rehashing.close()
    assert writing.written == [[row.id]]


def test_a_key_that_was_moved_by_another_is_not_written_over(store, made):
    row, key = made
    rehashing = Rehashing(store.rehash, BOTH)
    rehashing.note(key, row)
    third = Peppers.parse("1:the-old-pepper-of-all,3:the-pepper-after-that")
    other = Rehashing(store.rehash, third)
    other.note(key, row)
    for one in (other, rehashing):
        one.start()
        done(one)
        one.close()
    assert store.fetch_key(row.id).pepper_version == 3
