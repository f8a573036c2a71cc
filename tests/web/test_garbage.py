"""A request leaves nothing for the garbage collector: what it was made of is gone with its last byte.

What failed may: the traceback of an error holds what it came through, and the error is held by the outcome.
"""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from tests.support.gateway import configuration
from tests.support.observed import observed
from tests.support.scripted_upstream import answer, scripted_upstream

CHAT, MESSAGES = "/api/chat/stream", "/v1/messages"
HELLO = {"message": "hi"}
ASK = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = b'{"type":"message","content":[],"usage":{"input_tokens":1,"output_tokens":1}}'
OF_A_REQUEST = {"Record", "StreamJob", "AnswerJob", "Attempts", "Relay", "Exchange", "Fold", "ClientSide", "Call"}
JSON = b"content-type: application/json"


@pytest.fixture
def garbage():
    """Keep what the collector finds, and let it look only when told to."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def ours() -> Counter:
        gc.collect()
        return Counter(name for found in gc.garbage if (name := type(found).__name__) in OF_A_REQUEST)

    yield ours
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize(
    ("script", "path", "body"),
    [
        pytest.param(None, CHAT, HELLO, id="chat"),
        pytest.param(None, MESSAGES, {**ASK, "stream": True}, id="messages"),
        pytest.param(answer(200, MESSAGE, JSON), CHAT, {**HELLO, "stream": False}, id="chat, whole"),
        pytest.param(answer(200, MESSAGE, JSON), MESSAGES, ASK, id="messages, whole"),
    ],
)
async def test_a_request_that_ended_is_gone(script, path, body, garbage, tmp_path):
    async with (
        scripted_upstream(*[script] * (script is not None)) as claude,
        observed(configuration(tmp_path, claude.url)) as (caller, outcomes),
    ):
        for count in range(1, 4):
            async with caller.post(path, body) as response:
                await response.read()
            await outcomes.reach(count)
        assert garbage() == {}
