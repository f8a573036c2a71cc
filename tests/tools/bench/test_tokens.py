"""Every token is checked: missing, repeated, out of order, and the end after them."""

import pytest

from tools.bench.tokens import MARK, moments, problem


def frames(*numbers: int, end: bytes = b'data: {"type":"done"}\n\n') -> bytes:
    return b"".join(b'data: {"token":"%d:%d| "}\n\n' % (number, 1000 + number) for number in numbers) + end


def test_a_whole_answer_is_in_order():
    assert problem(frames(0, 1, 2), 3, b'"done"') is None


def test_tokens_that_were_merged_into_one_frame_are_as_good():
    assert problem(b'data: {"token":"0:5| 1:6| 2:7| "}\n\ndata: {"type":"done"}\n\n', 3, b'"done"') is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (frames(0, 2), "1 tokens are missing, 0 came again"),
        (frames(0, 1, 1, 2), "0 tokens are missing, 1 came again"),
        (frames(0, 2, 1), "tokens came out of order"),
        (frames(0, 1, 2, 3), "there are more tokens than were sent"),
        (b'data: {"type":"error"}', 'no tokens: data: {"type":"error"}'),
        (frames(0, 1, 2, end=b""), "the end is missing"),
    ],
)
def test_what_is_wrong_is_said(body, said):
    assert said in problem(body, 3, b'"done"')


def test_an_end_before_the_last_token_is_no_end():
    assert "the end is missing" in problem(frames(0, 1) + frames(2, end=b""), 3, b'"done"')


def test_the_moments_are_those_of_the_upstream_and_the_mark_counts_tokens_however_they_are_cut():
    body = frames(0, 1, 2)
    assert moments(body) == [1000, 1001, 1002]
    assert sum(body[at : at + 1].count(MARK) for at in range(len(body))) == 3
