import pytest

from gateway.simulator.frames import PING, Frame, chunked, with_pings


def moments(frames):
    return [(round(frame.at, 3), frame.data) for frame in frames]


def test_a_silence_is_filled_with_pings():
    frames = [Frame(0, b"a"), Frame(1, b"b"), Frame(12, b"c")]
    assert moments(with_pings(frames, 5)) == [(0, b"a"), (1, b"b"), (6, PING), (11, PING), (12, b"c")]


def test_the_wait_for_the_first_frame_has_no_pings():
    assert moments(with_pings([Frame(100, b"a")], 5)) == [(100, b"a")]


def test_an_interval_of_zero_sends_none():
    frames = [Frame(0, b"a"), Frame(1000, b"b")]
    assert list(with_pings(frames, 0)) == frames


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_chunks_join_to_the_same_bytes_and_count_the_same_tokens(size):
    frames = [Frame(n, b"x%d" % n * n, tokens=1) for n in range(20)]
    cut = list(chunked(frames, size))
    assert b"".join(frame.data for frame in cut) == b"".join(frame.data for frame in frames)
    assert sum(frame.tokens for frame in cut) == 20
    assert all(len(frame.data) == size for frame in cut[:-1])
    assert [frame.at for frame in cut] == sorted(frame.at for frame in cut)


def test_a_chunk_leaves_when_its_last_byte_is_due():
    assert moments(chunked([Frame(1, b"ab"), Frame(2, b"cd")], 3)) == [(2, b"abc"), (2, b"d")]


def test_minus_one_makes_one_write_of_all():
    assert moments(chunked([Frame(1, b"ab"), Frame(2, b"cd")], -1)) == [(2, b"abcd")]


def test_an_early_end_takes_the_held_bytes_with_it():
    cut = list(chunked([Frame(1, b"ab"), Frame(2, b"", end="cut")], 3))
    assert cut == [Frame(2, b"ab", 0, 0, "cut")]


def test_nothing_is_nothing():
    assert list(chunked([], 3)) == []
