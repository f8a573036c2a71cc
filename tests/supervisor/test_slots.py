"""Which worker takes connections from which socket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.supervisor.slots import Slots


class Worker:
    """Remembers which sockets it takes connections from."""

    def __init__(self) -> None:
        self.doors: set[int] = set()

    def listen(self, door: int) -> None:
        assert door not in self.doors
        self.doors.add(door)

    def leave(self, door: int) -> None:
        self.doors.remove(door)


def seated(count, doors=None):
    slots, workers = Slots(), [Worker() for _ in range(count)]
    assert slots.seat(workers, doors or count) == []
    return slots, workers


def test_each_worker_takes_its_own_socket():
    _, workers = seated(3)
    assert [worker.doors for worker in workers] == [{0}, {1}, {2}]


def test_another_takes_the_socket_of_one_that_died_until_there_is_a_new_one():
    slots, (first, second) = seated(2)
    assert slots.empty(first) == 0
    assert second.doors == {0, 1}
    new = Worker()
    slots.fill(0, new)
    assert (new.doors, second.doors) == ({0}, {1})


def test_while_there_is_none_the_next_one_takes_all():
    slots, workers = seated(2)
    for worker in workers:
        slots.empty(worker)
    new = Worker()
    slots.fill(1, new)
    assert new.doors == {0, 1}


def test_a_new_generation_takes_everything_from_the_one_before():
    slots, old = seated(2)
    new = [Worker(), Worker()]
    assert slots.seat(new, 2) == old
    assert [worker.doors for worker in new] == [{0}, {1}]
    assert [worker.doors for worker in old] == [set(), set()]


def test_fewer_workers_share_all_sockets_and_more_have_their_own():
    slots, _ = seated(3)
    few = [Worker(), Worker()]
    slots.seat(few, 3)
    assert [worker.doors for worker in few] == [{0, 2}, {1}]
    many = [Worker() for _ in range(4)]
    slots.seat(many, 4)
    assert [worker.doors for worker in many] == [{0}, {1}, {2}, {3}]


def test_a_worker_without_a_place_leaves_none_empty():
    slots, (first, _) = seated(2)
    slots.seat([Worker()], 2)
    assert slots.empty(first) is None


def test_at_the_end_nobody_is_given_anything():
    slots, (first, _) = seated(2)
    slots.close()
    assert slots.empty(first) is None
    assert slots.workers == []


@given(st.lists(st.one_of(st.tuples(st.just("seat"), st.integers(1, 4)), st.tuples(st.just("die"), st.integers(0, 3)))))
def test_every_socket_has_one_taker_as_long_as_there_is_a_worker(steps):
    slots, everyone = seated(2)
    doors = 2
    for step, number in steps:
        if step == "seat":
            doors = max(doors, number)
            fresh = [Worker() for _ in range(number)]
            everyone += fresh
            slots.seat(fresh, doors)
        elif number < len(slots.workers) and slots.workers[number] is not None:
            slots.empty(slots.workers[number])
        taken = sorted(door for worker in everyone for door in worker.doors)
        # One that died is told to leave as well; that it does not hear it is no matter.
        assert taken == (list(range(doors)) if any(slots.workers) else [])
