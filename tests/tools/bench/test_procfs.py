"""What is read from /proc: sums over a tree, names with parentheses, processes that have ended."""

import os
import socket

from tools.bench.procfs import TICK, Stat, cpu_seconds, open_files, parse_stat, resident_bytes, stat, tree


def line(pid: int, parent: int, user: int = 0, system: int = 0, name: str = "python") -> str:
    return f"{pid} ({name}) S {parent} 1 1 0 -1 4194304 100 0 0 0 {user} {system} 900 900 20 0 1 0 12345 1 1"


def process(proc, pid: int, parent: int, *, user: int = 0, system: int = 0, pages: int = 0) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "stat").write_text(line(pid, parent, user, system))
    (proc / str(pid) / "statm").write_text(f"9999 {pages} 3 4 0 6 0\n")


def test_user_and_system_time_are_added_and_those_of_children_left_out():
    assert parse_stat(line(7, 3, user=40, system=2)) == Stat(3, 42)


def test_a_name_may_hold_parentheses_and_spaces():
    assert parse_stat(line(7, 3, user=1, name="a) b (c")) == Stat(3, 1)


def test_a_tree_is_the_process_its_children_and_theirs_and_nobody_else(tmp_path):
    for pid, parent in ((10, 1), (11, 10), (12, 11), (13, 1), (14, 10)):
        process(tmp_path, pid, parent)
    (tmp_path / "self").mkdir()
    assert tree(10, tmp_path) == [10, 11, 14, 12]


def test_time_and_memory_are_sums_in_which_an_ended_process_counts_nothing(tmp_path):
    process(tmp_path, 10, 1, user=3 * TICK, system=TICK, pages=2)
    process(tmp_path, 11, 10, user=TICK, pages=1)
    assert cpu_seconds([10, 11, 99], tmp_path) == 5.0
    assert resident_bytes([10, 11, 99], tmp_path) == 3 * os.sysconf("SC_PAGE_SIZE")
    assert stat(99, tmp_path) is None
    assert open_files(99, tmp_path) == {}


def test_open_files_are_counted_by_kind():
    with socket.socket():
        before = open_files(os.getpid())
        with socket.socket(), socket.socket(), open(__file__):  # noqa: PTH123 - the descriptor is what counts
            after = open_files(os.getpid())
    assert after["socket"] - before["socket"] == 2
    assert after["file"] - before.get("file", 0) == 1
