"""Every recorded stream through both endpoints, whole and in pieces of every size.

One gateway and one upstream carry them all, a few at a time over connections that are kept alive, so that what one
stream leaves behind would show in the next.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.support.frames import frames, joined
from tests.support.gateway import configuration, serving
from tests.support.recordings import Recording, all_recordings
from tests.support.scripted_upstream import SSE_HEAD, scripted_upstream
from tests.support.whatwg import interpret

WHOLE = 0
BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_SLICE = 4093  # bytes of one write: no multiple of anything
_AT_ONCE = 4


class Replay:
    """A script: the request's model says which stream is sent, in chunks of which size."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._recordings = recordings

    async def __call__(self, peer) -> None:
        _, index, size = json.loads(peer.request.body)["model"].split("-")
        framed = SSE_HEAD + _chunked(self._recordings[int(index)].raw, int(size)) + b"0\r\n\r\n"
        step = len(framed) if int(size) == WHOLE else max(_SLICE, len(framed) // 40)
        for start in range(0, len(framed), step):
            peer.writer.write(framed[start : start + step])
            await asyncio.sleep(0)  # the gateway reads this piece before the next one is there
        await peer.writer.drain()


def _chunked(raw: bytes, size: int) -> bytes:
    step = size or len(raw)
    return b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for at in range(0, len(raw), step) if (part := raw[at : at + step])
    )


@pytest.mark.parametrize("size", [1, 7, 1000, WHOLE])
@pytest.mark.parametrize("route", ["/v1/messages", "/api/chat/stream"])
async def test_every_recorded_stream_arrives_as_it_was_sent(tmp_path, route, size):
    recordings = all_recordings()
    check = _check_messages if route == "/v1/messages" else _check_chat
    limit = asyncio.Semaphore(_AT_ONCE)
    wrong: list[str] = []

    async def replay(caller, index: int) -> None:
        body = {"model": f"replay-{index}-{size}", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        if route == "/v1/messages":
            body["max_tokens"] = 100_000
        async with limit, caller.post(route, body) as response:
            assert response.status == 200
            answer = await response.read()
        try:
            check(answer, recordings[index])
        except AssertionError as error:
            wrong.append(f"{recordings[index].path}: {error}")

    async with scripted_upstream(Replay(recordings)) as claude:
        config = configuration(tmp_path, claude.url, upstream={"retries": 0})
        async with serving(config) as caller:
            await asyncio.gather(*(replay(caller, index) for index in range(len(recordings))))
    assert not wrong, f"{len(wrong)} of {len(recordings)}:\n" + "\n".join(wrong[:20])
    assert Counter(request.line for request in claude.requests) == {"POST /v1/messages HTTP/1.1": len(recordings)}


def _check_messages(answer: bytes, recording: Recording) -> None:
    if recording.end == "done":
        assert answer == recording.raw, "the bytes differ"
        return
    whole = _whole_events(recording.raw)
    told = interpret(answer)
    if recording.end == "error":
        at = next(i for i, (_, data) in enumerate(recording.events) if _type(data) == "error")
        assert told == recording.events[: at + 1], "an error must be the last event, as it came"
        assert recording.raw.startswith(answer), "the bytes differ"
        return
    assert answer.startswith(whole), "the bytes before the cut differ"
    *_, (name, data) = told
    assert (name, _type(data)) == ("error", "error"), "a cut must be told"
    assert len(told) == len(recording.bodies) + 1, "exactly one event must be added"


def _check_chat(answer: bytes, recording: Recording) -> None:
    assert b"\r" not in answer
    told = frames(answer)
    *texts, end = told
    assert [frame["type"] for frame in texts] == ["text"] * len(recording.texts), "one frame for each text delta"
    assert joined(told) == "".join(recording.texts), "the text differs"
    assert end["type"] == ("done" if recording.end == "done" else "error"), f"the end of {recording.end}"
    if end["type"] == "done":
        usage = recording.usage
        assert end["metadata"]["usage"] == {
            "inputTokens": usage.get("input_tokens", 0),
            "outputTokens": usage.get("output_tokens", 0),
            "cacheReadTokens": usage.get("cache_read_input_tokens", 0),
            "cacheCreationTokens": usage.get("cache_creation_input_tokens", 0),
        }


def _whole_events(raw: bytes) -> bytes:
    ends = [match.end() for match in BLANK_LINE.finditer(raw)]
    return raw[: ends[-1]] if ends else b""


def _type(data: str) -> object:
    return json.loads(data).get("type") if data.startswith("{") else None
