"""Flat memory, closed files, and a crowd that follows the load."""

from tools.soak.health import crowd_size, leaks, memory

MIB = 1024 * 1024


def test_memory_is_compared_after_warming_up():
    grows_at_first = memory([(50 + step) * MIB for step in range(12)] + [100 * MIB] * 10)
    assert grows_at_first is not None
    assert grows_at_first.flat
    assert "100.0 MiB after the start" in str(grows_at_first)


def test_memory_that_grows_on_and_on_is_not_flat():
    grows = memory([(100 + step) * MIB for step in range(100)])
    assert grows is not None
    assert not grows.flat


def test_too_few_values_say_nothing():
    assert memory([MIB] * 21) is None
    assert memory([MIB] * 22) is not None


def test_the_crowd_follows_the_load_a_quarter_at_a_time():
    assert crowd_size(100, load=0.5, wanted=0.5, others=0.3) == 100
    assert crowd_size(100, load=0.45, wanted=0.5, others=0.3) == 111
    assert crowd_size(100, load=0.1, wanted=0.5, others=0.3) == 125
    assert crowd_size(100, load=1.0, wanted=0.5, others=0.3) == 80
    assert crowd_size(4, load=1.0, wanted=0.5, others=0.3) == 4


def test_where_the_pretend_claude_is_the_limit_the_crowd_shrinks():
    assert crowd_size(100, load=0.1, wanted=0.5, others=0.9) == 80


def test_what_is_open_and_was_not_is_a_leak_but_for_the_databases_files():
    before = {"socket": 3, "file": 4, "anon_inode": 2}
    assert leaks(before, {"socket": 3, "file": 6, "anon_inode": 2}) == []
    assert leaks(before, {"socket": 2}) == []
    assert leaks(before, {"socket": 5, "pipe": 1}) == [
        "1 open files of kind pipe, 0 at the start",
        "5 open files of kind socket, 3 at the start",
    ]
