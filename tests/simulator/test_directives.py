import pytest

from gateway.simulator import directives
from gateway.simulator.directives import BadDirectives, Directives, merge, parse, split_marker, without_faults


def test_pairs_are_read_with_durations_and_sizes_as_people_write_them():
    asked = parse("status=529; retry-after=500ms ;giant-event=2MB; ")
    assert (asked.status, asked.retry_after, asked.giant_event) == (529, 0.5, 2_000_000)


def test_nothing_asks_for_nothing():
    assert parse("") == parse(" ; ") == Directives()


def test_flags_need_no_value():
    assert parse("gzip; drip-headers") == parse("gzip=true; drip-headers=2s")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stat=529", "there is no directive 'stat'; allowed are tokens-per-second"),
        ("status", "'status' needs a value, as in status=529; allowed are"),
        ("status=200", "status=200: Input should be greater than or equal to 400. Answer with this error status."),
        ("stall=soon", "stall=soon: "),
        ("content-type=a\r\nb", "content-type=a"),
        ("stop-reason=bored", "stop-reason=bored: Input should be 'end_turn'"),
    ],
)
def test_a_bad_text_is_told_what_is_allowed(text, said):
    with pytest.raises(BadDirectives) as caught:
        parse(text)
    assert said in str(caught.value)


def test_markers_are_taken_out_of_the_text_and_joined():
    assert split_marker("Hi [[sim: status=529]]there[[ sim:count=1 ]]") == ("Hi there", " status=529;count=1 ")
    assert split_marker("  no marker ") == ("  no marker ", "")


def test_later_layers_win_name_by_name():
    merged = merge(parse("status=529; tokens=3"), parse("tokens=4"), parse(""))
    assert merged == parse("status=529; tokens=4")
    assert merged.model_fields_set == {"status", "tokens"}


def test_sparing_a_request_keeps_its_pace_and_text():
    asked = without_faults(parse("status=529; count=1; tokens-per-second=5; text=Hi"))
    assert asked == parse("tokens-per-second=5; text=Hi")


def test_every_directive_says_what_it_does():
    assert all(field.description for field in Directives.model_fields.values())
    assert "stall-after" in directives.names()
