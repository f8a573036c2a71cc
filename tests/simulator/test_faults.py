import orjson
import pytest

from gateway.simulator import faults
from gateway.simulator.directives import parse
from gateway.simulator.frames import Frame

STREAM = [
    Frame(1, b"start"),
    Frame(1, b"open"),
    Frame(2, b"one", 1),
    Frame(3, b"two", 1),
    Frame(4, b"stop"),
]


def inflicted(text):
    return list(faults.inflict(STREAM, parse(text)))


def data(text):
    return [frame.data for frame in inflicted(text)]


def test_nothing_asked_changes_nothing():
    assert inflicted("") == STREAM


@pytest.mark.parametrize("end", ["cut", "reset", "stall"])
def test_an_end_takes_everything_after_its_position_away(end):
    after = inflicted(f"{end}-after=1")
    assert [frame.data for frame in after] == [b"start", b"open", b"one", b""]
    assert (after[-1].end, after[-1].at) == (end, 2)
    assert inflicted(f"{end}-after=0") == [Frame(1, b"", end=end)]


def test_a_clean_end_sends_nothing_more():
    assert data("end-after=1") == [b"start", b"open", b"one"]
    assert data("end-after=0") == []
    assert data("end-after=99") == [b"start", b"open", b"one", b"two", b"stop"]


def test_an_error_event_ends_the_stream_in_claudes_shape():
    *before, last = data("error-after=1; error=api_error; message=Oops")
    assert before == [b"start", b"open", b"one"]
    assert last == b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"Oops"}}\n\n'
    assert b'"overloaded_error","message":"Overloaded"' in data("error-after=0")[0]


def test_a_stall_with_a_length_delays_what_follows():
    assert [frame.at for frame in inflicted("stall-after=1; stall=10")] == [1, 1, 2, 13, 14]
    assert [frame.at for frame in inflicted("stall-after=0; stall=10")] == [11, 11, 12, 13, 14]


def test_garbage_and_unknown_events_are_put_in_between():
    with_garbage = data("garbage-after=1")
    assert len(with_garbage) == 6
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(with_garbage[3].partition(b"data: ")[2])
    assert b"brand_new_event" in data("unknown-after=0")[0]
    assert data("unknown-after=0")[1:] == [frame.data for frame in STREAM]


def test_a_giant_event_follows_the_first_delta_unless_told_otherwise():
    assert len(data("giant-event=1MB")[3]) > 1_000_000
    assert len(data("giant-event=1MB; giant-after=2")[4]) > 1_000_000


def test_a_whole_answer_is_damaged_in_its_middle():
    def whole(text):
        return list(faults.damage(b"0123456789", 2.0, parse(text)))

    assert whole("") == [Frame(2.0, b"0123456789")]
    assert whole("cut-after=5") == [Frame(2.0, b"01234"), Frame(2.0, b"", end="cut")]
    assert whole("reset-after=0") == [Frame(2.0, b""), Frame(2.0, b"", end="reset")]
    assert whole("end-after=5") == [Frame(2.0, b"01234")]
    assert whole("stall-after=5; stall=3") == [Frame(2.0, b"01234"), Frame(5.0, b"56789")]
    assert whole("garbage-after=5")[0].data == b"01234\xff<<garbage>>"


def test_an_error_status_is_built_from_what_was_asked():
    refused = faults.refusal(parse("status=529; retry-after=2.5; should-retry=false; message=Busy"))
    assert refused is not None
    assert (refused.status, refused.kind, refused.message) == (529, "overloaded_error", "Busy")
    assert refused.headers == {"retry-after": "2.5", "x-should-retry": "false"}
    page = faults.refusal(parse("status=502; content-type=text/html"))
    assert page is not None
    assert page.headers["content-type"] == "text/html"


def test_an_error_name_alone_brings_its_status():
    refused = faults.refusal(parse("error=billing_error"))
    assert refused is not None
    assert refused.status == 402
    assert faults.refusal(parse("error=billing_error; error-after=3")) is None
    assert faults.refusal(parse("tokens=3")) is None
    assert faults.refused(parse("error-after=3")).status == 529


def test_a_count_spares_the_requests_after_it_by_id():
    counter = faults.FaultCounter(0)
    asked = parse("status=500; count=2; id=a; tokens=3")
    assert [counter.admit(asked).status for _ in range(4)] == [500, 500, None, None]
    assert counter.admit(asked).tokens == 3
    assert counter.admit(parse("status=500; count=2; id=b")).status == 500


def test_a_count_without_an_id_counts_the_directives_themselves():
    counter = faults.FaultCounter(0)
    assert counter.admit(parse("status=500; count=1")).status == 500
    assert counter.admit(parse("status=500; count=1")).status is None
    assert counter.admit(parse("status=501; count=1")).status == 501


def test_a_probability_spares_its_share():
    counter = faults.FaultCounter(0)
    hit = sum(counter.admit(parse("status=500; probability=0.25")).status == 500 for _ in range(1000))
    assert 200 < hit < 300
    assert counter.admit(parse("status=500; probability=1")).status == 500


def test_counts_are_bounded(monkeypatch):
    monkeypatch.setattr(faults, "_MAX_COUNTED", 2)
    counter = faults.FaultCounter(0)
    for name in ("a", "b", "c"):
        counter.admit(parse(f"status=500; count=1; id={name}"))
    assert counter.admit(parse("status=500; count=1; id=a")).status == 500
    assert counter.admit(parse("status=500; count=1; id=c")).status is None
