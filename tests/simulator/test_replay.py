import random

import orjson
import pytest

from gateway.simulator import replay
from gateway.simulator.refusals import Refused
from gateway.simulator.wire import Pace
from tests.support.recordings import all_recordings

SMALL = (
    b'event: message_start\r\ndata: {"type":"message_start","message":{"id":"m","content":[],"usage":'
    b'{"input_tokens":3,"output_tokens":1}}}\r\n\r\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"text","text":""}}\n\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"Hel"}   }\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"citations_delta","citation":{"c":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":1,"content_block":'
    b'{"type":"tool_use","id":"t","name":"n","input":{}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":1,"delta":'
    b'{"type":"input_json_delta","partial_json":"{\\"a\\":1}"}}\n\n'
    b"event: brand_new\ndata: not json\n\n"
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":'
    b'{"output_tokens":9}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}'
)


def test_the_pieces_join_to_the_file(tmp_path):
    path = tmp_path / "a.sse"
    path.write_bytes(SMALL)
    events = replay.load(path)
    assert b"".join(events) == SMALL
    assert len(events) >= 9


def test_every_event_has_its_moment_and_deltas_are_counted():
    frames = list(replay.frames(replay.split(SMALL), Pace(0.5, 1.0, 0.5, 0.0, random.Random(0))))
    assert [frame.at for frame in frames][:3] == [1.0, 1.5, 2.0]
    assert sum(frame.tokens for frame in frames) == 3
    assert frames[-1].block == 1


def test_a_whole_message_is_added_up():
    assert orjson.loads(replay.message(replay.split(SMALL))) == {
        "id": "m",
        "content": [
            {"type": "text", "text": "Hel", "citations": [{"c": 1}]},
            {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}},
        ],
        "usage": {"input_tokens": 3, "output_tokens": 9},
        "stop_reason": "tool_use",
    }


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (b'event: error\ndata: {"type":"error"}\n\n', "ends in an error event"),
        (b"", "is not one whole message"),
        (b'event: content_block_stop\ndata: {"type":"content_block_delta","index":5}\n\n', "is not one whole message"),
    ],
)
def test_what_is_no_message_is_refused(wire, said):
    with pytest.raises(Refused, match=said):
        replay.message(replay.split(wire))


def test_an_unknown_delta_is_left_out():
    odd = SMALL.replace(b'"type":"text_delta","text":"Hel"', b'"type":"new_delta","text":"Hel"')
    assert orjson.loads(replay.message(replay.split(odd)))["content"][0]["text"] == ""


def test_a_tool_without_input_has_an_empty_one():
    without = SMALL.replace(b'{\\"a\\":1}', b"")
    assert orjson.loads(replay.message(replay.split(without)))["content"][1]["input"] == {}


def test_an_index_that_is_no_number_is_the_first_block():
    odd = b'event: content_block_start\ndata: {"index":"x"}\n\nevent: content_block_delta\ndata: []\n\n'
    assert [frame.block for frame in replay.frames(replay.split(odd), Pace(0, 0, 0, 0, random.Random(0)))] == [0, 0]


def test_a_file_over_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "_MAX_FILE", 10)
    path = tmp_path / "a.sse"
    path.write_bytes(SMALL)
    with pytest.raises(Refused, match=r"a\.sse is over 10 bytes"):
        replay.load(path)


def test_a_name_stays_inside_its_directory(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "secret.sse"
    (inside / "sub").mkdir(parents=True)
    for path in (inside / "sub" / "a.sse", outside):
        path.write_bytes(b"")
    (inside / "link.sse").symlink_to(outside)
    assert replay.find(inside, "sub/a.sse") == (inside / "sub" / "a.sse").resolve()
    for name in ("../secret.sse", str(outside), "link.sse", "none.sse", "sub", "sub/../../secret.sse"):
        with pytest.raises(Refused, match="there is no recording"):
            replay.find(inside, name)


def test_every_recording_is_split_without_losing_a_byte():
    for recording in all_recordings():
        assert b"".join(replay.load(recording.path)) == recording.raw
