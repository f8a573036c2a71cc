"""The crowd: the same for the same seed, sensible, and in the pretend Claude's language."""

from dataclasses import replace

import pytest

from gateway.simulator.directives import parse
from tools.soak.visits import FAULTS, GONE, Crowd, Fault, Visit, draw

KEYS = {"good": "g", "narrow": "n", "bad": "b"}
MANY = [draw(7, number) for number in range(2000)]


def test_the_same_seed_draws_the_same_visits_and_another_one_others():
    crowd = Crowd(7)
    assert [crowd.next() for _ in range(50)] == [draw(7, number) for number in range(1, 51)]
    assert draw(8, 1) != draw(7, 1)


def test_every_kind_of_visit_occurs():
    assert {visit.behaviour for visit in MANY} == {"stays", "leaves", "half-closes", "reads slowly", "reads nothing"}
    assert {visit.route for visit in MANY} == {"chat", "chat-get", "messages"}
    assert {visit.credential for visit in MANY} == {"good", "narrow", "bad"}
    assert {visit.wrong for visit in MANY} == {"", "path", "json", "message"}
    assert {visit.fault for visit in MANY} >= set(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.directives)
def test_every_fault_is_one_that_the_pretend_claude_knows(fault):
    visit = Visit("soak-1-1", fault=fault, tokens=9, position=3)
    asked = parse(visit.directives)
    assert asked.tokens == 9
    assert asked.id in {None, "soak-1-1"}


def test_a_fault_ends_a_stream_another_way_than_an_answer_sent_whole_or_a_verbatim_one():
    visit = Visit("a", fault=Fault("x", "error:a", "error:b", verbatim="error:c"))
    assert visit.expected == {"error:a"}
    assert replace(visit, stream=False).expected == {"error:b"}
    assert replace(visit, route="messages").expected == {"error:c"}


def test_who_leaves_may_be_gone_who_is_limited_refused_and_who_has_no_key_nothing_else():
    assert Visit("a", behaviour="leaves").expected == {"done", GONE}
    assert Visit("a", credential="narrow").expected == {"done", "refused:rate_limited"}
    assert Visit("a", behaviour="reads nothing").expected == {"done", GONE, "error:slow_client"}
    assert "done" not in Visit("a", credential="bad", behaviour="leaves").expected
    assert Visit("a", wrong="path").expected == {"refused:not_found"}


def test_what_reads_slowly_has_more_to_read_than_the_kernel_takes():
    for visit in MANY:
        if visit.behaviour.startswith("reads") and not visit.wrong:
            assert visit.stream
            assert "giant-event" in visit.fault.directives


def test_a_request_is_one_that_http_allows():
    for visit in MANY[:200]:
        head, _, body = visit.request(KEYS).partition(b"\r\n\r\n")
        assert f"X-Request-Id: {visit.id}".encode() in head
        assert head.startswith(b"GET") == (visit.route == "chat-get")
        assert (b"Content-Length: %d" % len(body) in head) == (not head.startswith(b"GET"))
        assert body or head.startswith(b"GET")
