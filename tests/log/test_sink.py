"""The sink neither waits nor raises, and says what it lost."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from gateway.log.sink import Sink

BACKLOG = 1024 * 1024


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


def _fill(fd: int) -> int:
    os.set_blocking(fd, False)
    filled = 0
    while select.select([], [fd], [], 0)[1]:
        filled += os.write(fd, b"x" * 4096)
    os.set_blocking(fd, True)
    return filled


def _read(fd: int, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += os.read(fd, size - len(got))
    return got


def test_a_line_is_out_when_write_returns(pipe):
    Sink(pipe[1], backlog=BACKLOG).write(b"hello\n")
    assert os.read(pipe[0], 100) == b"hello\n"


def test_a_reader_that_stands_still_costs_no_waiting_and_gets_all_lines_in_order_later(pipe):
    sink = Sink(pipe[1], backlog=BACKLOG)
    filled = _fill(pipe[1])
    sink.write(b"one\n")
    sink.write(b"two\n")
    _read(pipe[0], filled)
    sink.write(b"three\n")
    assert _read(pipe[0], 14) == b"one\ntwo\nthree\n"
    assert sink.dropped == 0


def test_past_the_backlog_lines_are_dropped_and_counted(pipe):
    sink = Sink(pipe[1], backlog=10)
    filled = _fill(pipe[1])
    for _ in range(5):
        sink.write(b"1234\n")
    assert sink.dropped == 3
    _read(pipe[0], filled)
    sink.flush(10)
    assert _read(pipe[0], 10) == b"1234\n1234\n"


def test_a_line_longer_than_a_pipe_takes_is_written_in_pieces(pipe):
    sink = Sink(pipe[1], backlog=BACKLOG)
    line = b"x" * 200_000 + b"\n"
    sink.write(line)
    got = b""
    while len(got) < len(line):
        got += os.read(pipe[0], 65536)
        sink.flush(0.01)
    assert got == line


def test_a_closed_reader_is_swallowed_and_counted(pipe):
    sink = Sink(pipe[1], backlog=BACKLOG)
    os.close(pipe[0])
    sink.write(b"a\n")
    sink.write(b"b\n")
    assert sink.dropped == 2


def test_a_closed_descriptor_is_swallowed_and_counted(pipe):
    sink = Sink(pipe[1], backlog=BACKLOG)
    os.close(pipe[1])
    sink.write(b"a\n")
    assert sink.dropped == 1


def test_flush_gives_up_after_its_time(pipe):
    sink = Sink(pipe[1], backlog=BACKLOG)
    _fill(pipe[1])
    sink.write(b"late\n")
    sink.flush(0.01)
    assert sink.dropped == 0


def test_a_line_stays_when_another_process_fills_a_non_blocking_pipe_first(pipe):
    class Overtaken(bytes):
        """A line that finds the pipe full although it was ready."""

        def __getitem__(self, piece):
            filled.append(_fill(pipe[1]))
            os.set_blocking(pipe[1], False)
            return bytes(self)[piece]

    filled = []
    sink = Sink(pipe[1], backlog=BACKLOG)
    sink.write(Overtaken(b"late\n"))
    assert sink.dropped == 0
    _read(pipe[0], filled[0])
    sink._lines[0] = b"late\n"
    sink.flush(10)
    assert _read(pipe[0], 5) == b"late\n"


def test_a_finalizer_that_logs_during_a_write_comes_after_it(pipe):
    class Reentrant(bytes):
        """A line during whose writing another one is logged, as a finalizer may."""

        def __getitem__(self, piece):
            sink.write(b"inner\n")
            return bytes(self)[piece]

    sink = Sink(pipe[1], backlog=BACKLOG)
    sink.write(Reentrant(b"outer\n"))
    assert os.read(pipe[0], 100) == b"outer\ninner\n"


def test_lines_that_are_written_together_come_out_whole_in_order_and_in_pieces(pipe):
    sink = Sink(pipe[1], backlog=BACKLOG)
    lines = [b"%d" % n * size + b"\n" for n, size in enumerate([10, 3000, 3000, 9000, 1, 1, 4095, 5])]
    with sink.together(), sink.together():
        sink.write(lines[0])
        assert not select.select([pipe[0]], [], [], 0)[0]
        for line in lines[1:]:
            sink.write(line)
    assert os.read(pipe[0], 100_000) == b"".join(lines)
    sink.write(b"after\n")
    assert os.read(pipe[0], 100) == b"after\n"


def test_what_is_written_together_comes_out_though_its_writer_fails(pipe):
    sink = Sink(pipe[1], backlog=BACKLOG)

    def write_and_fail() -> None:
        with sink.together():
            sink.write(b"last\n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert os.read(pipe[0], 100) == b"last\n"


def test_of_lines_together_those_that_fitted_are_not_written_again(pipe):
    sink = Sink(pipe[1], backlog=BACKLOG)
    os.set_blocking(pipe[1], False)
    filled = _fill(pipe[1])
    os.set_blocking(pipe[1], False)
    lines = [b"%d" % (n % 10) * 99 + b"\n" for n in range(2000)]
    with sink.together():
        for line in lines:
            sink.write(line)
    read = b""
    os.set_blocking(pipe[0], False)
    for _ in range(1000):
        if len(read) == filled + 200_000:
            break
        read += os.read(pipe[0], 3000)
        sink.flush(0.01)
    assert read[filled:] == b"".join(lines)
    assert sink.dropped == 0


def test_however_many_lines_come_together_none_is_lost_while_the_descriptor_takes_them():
    with Path(os.devnull).open("wb", buffering=0) as nowhere:
        sink = Sink(nowhere.fileno(), backlog=10_000)
        with sink.together():
            for _ in range(1000):
                sink.write(b"x" * 600)
        assert sink.dropped == 0
