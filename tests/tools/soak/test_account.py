"""The account: what it accepts, and what it finds."""

import pytest

from tools.soak.account import EXPLAINED, Account
from tools.soak.reader import Answer
from tools.soak.visits import Fault, Visit

NOTHING = Answer(None, complete=False, good=False, frames=0, told=None)


def visit(**more) -> Visit:
    return Visit("soak-1-1", route="messages", tokens=20, **more)


def whole(frames: int = 20, told: int | None = 20) -> Answer:
    return Answer(200, complete=True, good=True, frames=frames, told=told)


def cut(frames: int) -> Answer:
    return Answer(200, complete=False, good=False, frames=frames, told=None)


def line(**more) -> dict:
    return {"event": "request", "level": "info", "client_request_id": "soak-1-1", "kind": "done", **more}


def account(made: Visit, answer: Answer, *lines: dict) -> Account:
    found = Account()
    found.begin(made)
    for one in lines:
        found.read(one)
    found.end(made, answer)
    found.close()
    return found


def test_a_whole_answer_with_the_tokens_that_were_asked_for_is_in_order_whichever_is_known_first():
    good = line(output_tokens=20, input_tokens=9, usage_estimated=False)
    first = account(visit(), whole(), good)
    later = Account()
    later.begin(visit())
    later.end(visit(), whole())
    later.read(good)
    later.close()
    for found in (first, later):
        assert found.findings == []
        assert (found.output, found.input, found.least, found.most) == (20, 9, 20, 20)


def test_no_line_is_found_and_so_is_a_second_one_and_one_of_nobody():
    assert "no line for" in account(visit(), whole()).findings[0]
    good = line(output_tokens=20)
    assert "a line too many" in account(visit(), whole(), good, good).findings[0]
    assert "a line too many" in account(visit(), whole(), good, line(client_request_id=None)).findings[0]


def test_who_left_at_once_and_heard_nothing_may_not_have_been_heard():
    at_once = account(visit(behaviour="leaves", after=0.01), NOTHING)
    assert (at_once.findings, at_once.unseen) == ([], 1)
    assert account(visit(behaviour="leaves", after=0.5), NOTHING).findings
    assert account(visit(behaviour="leaves", after=0.01), cut(1)).findings


def test_an_ending_that_was_not_asked_for_is_found():
    broken = line(kind="error", error="upstream_truncated", level="warning")
    assert "ended as error:upstream_truncated" in account(visit(), cut(3), broken).findings[0]
    asked = visit(fault=Fault("cut-after=3", "error:upstream_truncated"))
    assert account(asked, cut(3), {**broken, "output_tokens": 25}).findings == []


@pytest.mark.parametrize(
    ("answer", "more", "said"),
    [
        (whole(), {"output_tokens": 19}, "Claude said 20"),
        (whole(), {"output_tokens": 20, "usage_estimated": True}, "Claude said 20"),
        (whole(told=21), {"output_tokens": 20}, "was told 21"),
        (whole(frames=19), {"output_tokens": 20}, "19 pieces came"),
        (cut(20), {"output_tokens": 20}, "was not whole"),
    ],
)
def test_a_token_that_is_lost_or_invented_is_found(answer, more, said):
    assert said in account(visit(), answer, line(**more)).findings[0]


@pytest.mark.parametrize(
    ("answer", "more", "said"),
    [
        (cut(5), {"output_tokens": 4}, "4 tokens are not within 5 and 1024"),
        (cut(5), {"output_tokens": 1025}, "not within"),
        (cut(5), {}, "tokens came that the line does not have"),
        (whole(), {"output_tokens": 20}, "the client had a whole answer"),
    ],
)
def test_the_estimate_of_a_cut_stream_is_between_what_came_and_what_was_allowed(answer, more, said):
    asked = visit(fault=Fault("cut-after=5", "error:upstream_truncated"))
    ended = line(kind="error", error="upstream_truncated", **more)
    assert said in account(asked, answer, ended).findings[0]


def test_frames_may_be_merged_for_a_chat_client_only():
    chat = Visit("soak-1-1", route="chat", tokens=20)
    assert account(chat, whole(frames=12), line(output_tokens=20)).findings == []
    assert account(chat, whole(frames=21), line(output_tokens=20)).findings
    giant = Visit("soak-1-1", route="messages", tokens=20, fault=Fault("giant-event=1MB", extra=1))
    assert account(giant, whole(frames=21), line(output_tokens=20)).findings == []


def test_load_that_is_shed_is_explained_whatever_was_asked_for():
    shed = line(kind="refused", error="overloaded", level="warning")
    found = account(visit(), Answer(503, complete=True, good=False, frames=0, told=None), shed)
    assert found.explained == {"refused:overloaded": 1}
    assert found.findings == ["1 of 1 requests were refused for reasons that nobody asked for"]
    found.findings.clear()
    found.lines = 10
    found.close()
    assert found.findings == []


def test_a_warning_that_is_no_requests_is_found_unless_it_is_explained(monkeypatch):
    found = Account()
    found.read({"event": "listening", "level": "info"})
    assert found.findings == []
    found.read({"event": "the roof is on fire", "level": "warning"})
    assert "nothing explains" in found.findings[0]
    monkeypatch.setitem(EXPLAINED, "the roof is on fire", "it is a drill")
    found.read({"event": "the roof is on fire", "level": "warning"})
    assert len(found.findings) == 1
    assert found.explained["the roof is on fire"] == 1


def test_a_visit_without_an_end_is_found():
    found = Account()
    found.begin(visit())
    found.close()
    assert found.findings == ["the visit soak-1-1 did not end"]
