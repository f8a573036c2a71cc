"""A request leaves nothing for the garbage collector, however it ends: what it was made of is gone with its outcome.

The collector looks at what is older than a moment every few minutes only. Until then the traceback of one error would
hold the frames that it came through, and with them the request, its answer, and its buffers.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from contextlib import suppress

import aiohttp
import pytest

from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import request_bytes
from tests.support.scripted_upstream import HELLO as STREAMED
from tests.support.scripted_upstream import (
    BLOCK,
    SSE_HEAD,
    START,
    answer,
    event,
    scripted_upstream,
    stream,
    text_delta,
)
from tests.support.slow_client import narrow

CHAT, MESSAGES = "/api/chat/stream", "/v1/messages"
HELLO = {"message": "hi"}
ASK = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**ASK, "stream": True}
MESSAGE = b'{"type":"message","content":[],"usage":{"input_tokens":1,"output_tokens":1}}'
OF_A_REQUEST = {"Record", "StreamJob", "AnswerJob", "Attempts", "Relay", "Exchange", "Fold", "ClientSide", "Call"}
JSON = b"content-type: application/json"
OVERLOADED = event("error", ',"error":{"type":"overloaded_error","message":"Overloaded"}')
IMPATIENT = {"retries": 0, "first_event_timeout": 0.2, "idle_timeout": 0.2, "total_timeout": 1}


@pytest.fixture
def garbage():
    """Keep what the collector finds, and let it look only when told to, and only at what is newer than this.

    What is older stays out of its sight: to look at all that other tests have made takes longer than a test.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def ours() -> Counter:
        gc.collect()
        return Counter(name for found in gc.garbage if (name := type(found).__name__) in OF_A_REQUEST)

    yield ours
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def begin(*chunks: bytes, then: str):
    """Begin a stream; ``then`` end it, reset it, or wait until the gateway closes it."""

    async def script(peer) -> None:
        await peer.send(SSE_HEAD)
        for chunk in chunks:
            await peer.chunk(chunk)
        if then == "ends":
            await peer.end()
        elif then == "resets":
            peer.reset()
        else:
            await peer.closed()

    return script


async def resets(peer) -> None:
    peer.reset()


async def hangs(peer) -> None:
    await peer.closed()


async def floods(peer) -> None:
    await begin(START + BLOCK, *[text_delta("x" * 60_000)] * 200, then="waits")(peer)


async def refuses_in_part(peer) -> None:
    await peer.send(b"HTTP/1.1 529 Overloaded\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
    peer.reset()


async def _visit(caller, path: str, body, **headers: str) -> None:
    with suppress(aiohttp.ClientError):
        async with caller.post(path, body, **headers) as response:
            await response.read()


@pytest.mark.parametrize(
    ("script", "path", "body"),
    [
        pytest.param(None, CHAT, HELLO, id="chat"),
        pytest.param(None, MESSAGES, STREAM, id="messages"),
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
            await _visit(caller, path, body)
            await outcomes.reach(count)
        assert garbage() == {}


ROUTES = pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, HELLO), (MESSAGES, STREAM), (MESSAGES, ASK)],
    ids=["chat", "messages", "messages, whole"],
)
FAULTS = pytest.mark.parametrize(
    "script",
    [
        pytest.param(answer(529, OVERLOADED, JSON), id="is overloaded"),
        pytest.param(answer(429, b"{}", JSON), id="refuses"),
        pytest.param(refuses_in_part, id="refuses and resets"),
        pytest.param(answer(401, b"{}", JSON), id="does not know the key"),
        pytest.param(answer(200, b"<html>", b"content-type: text/html"), id="is none"),
        pytest.param(resets, id="resets"),
        pytest.param(hangs, id="hangs"),
        pytest.param(begin(then="waits"), id="hangs after the head"),
        pytest.param(begin(b": so far\n\n", then="resets"), id="resets before an event"),
        pytest.param(begin(START, BLOCK, text_delta("a"), then="resets"), id="resets in the middle"),
        pytest.param(begin(START, BLOCK, text_delta("a"), then="ends"), id="ends in the middle"),
        pytest.param(begin(START, BLOCK, text_delta("a"), then="waits"), id="hangs in the middle"),
        pytest.param(begin(OVERLOADED, then="ends"), id="begins with an error"),
        pytest.param(begin(START, BLOCK, OVERLOADED, then="ends"), id="ends with an error"),
        pytest.param(begin(START, b"event: message_stop\ndata: {\n\n", then="ends"), id="speaks nonsense"),
    ],
)


@ROUTES
@FAULTS
async def test_a_request_that_claude_failed_is_gone(script, path, body, garbage, tmp_path):
    async with (
        scripted_upstream(script) as claude,
        observed(configuration(tmp_path, claude.url, upstream=IMPATIENT)) as (caller, outcomes),
    ):
        for count in range(1, 4):
            await _visit(caller, path, body)
            await outcomes.reach(count)
        assert not [outcome for outcome in outcomes.all if outcome.error_code is None]
        assert garbage() == {}


@ROUTES
@FAULTS
async def test_a_request_whose_first_attempt_failed_is_gone(script, path, body, garbage, tmp_path):
    async def then_answers(peer) -> None:
        whole = answer(200, MESSAGE, JSON)
        await (stream(STREAMED) if b'"stream":true' in peer.request.body else whole)(peer)

    settings = {**IMPATIENT, "retries": 1, "retry_budget": 2}
    async with (
        scripted_upstream(script, then_answers) as claude,
        observed(configuration(tmp_path, claude.url, upstream=settings)) as (caller, outcomes),
    ):
        await _visit(caller, path, body)
        await outcomes.reach(1)
        assert garbage() == {}


@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), (MESSAGES, STREAM)])
async def test_a_request_that_met_a_stale_connection_is_gone(path, body, garbage, tmp_path):
    async def answers_once(peer) -> None:
        await stream(STREAMED)(peer)
        await peer.reader.readexactly(1)
        peer.reset()

    async with (
        scripted_upstream(answers_once) as claude,
        observed(configuration(tmp_path, claude.url)) as (caller, outcomes),
    ):
        for count in range(1, 4):
            await _visit(caller, path, body)
            await outcomes.reach(count)
        assert claude.connections == 3
        assert garbage() == {}


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        pytest.param(CHAT, b"{", {}, id="no JSON"),
        pytest.param(CHAT, {}, {}, id="no message"),
        pytest.param(MESSAGES, {"model": 1}, {}, id="no model"),
        pytest.param(MESSAGES, ASK, {"authorization": "Bearer unknown"}, id="an unknown key"),
        pytest.param(CHAT, HELLO, {"content-encoding": "br"}, id="an unknown encoding"),
        pytest.param("/elsewhere", HELLO, {}, id="an unknown path"),
        pytest.param("/health", HELLO, {}, id="a wrong method"),
    ],
)
async def test_a_request_that_was_refused_is_gone(path, body, headers, garbage, tmp_path):
    async with (
        scripted_upstream() as claude,
        observed(configuration(tmp_path, claude.url)) as (caller, outcomes),
    ):
        for count in range(1, 4):
            await _visit(caller, path, body, **headers)
            await outcomes.reach(count)
        assert {outcome.kind for outcome in outcomes.all} == {"refused"}
        assert garbage() == {}


@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "does not read"])
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(hangs, id="before the head"),
        pytest.param(begin(then="waits"), id="after the head"),
        pytest.param(begin(START, BLOCK, then="waits"), id="after the first event"),
        pytest.param(floods, id="in a flood"),
    ],
)
async def test_a_request_whose_client_is_lost_is_gone(script, leaves, garbage, tmp_path):
    server = {"slow_client_timeout": 0.2}
    async with (
        scripted_upstream(script) as claude,
        observed(configuration(tmp_path, claude.url, server=server, upstream=IMPATIENT)) as (caller, outcomes),
    ):
        credential = f"Authorization: Bearer {caller.key}"
        data = request_bytes("POST", CHAT, credential, body=json.dumps(HELLO).encode())
        for count in range(1, 4):
            async with narrow(caller.gateway.url, data):
                await eventually(lambda: len(claude.requests) >= count)  # noqa: B023 - called at once
                if not leaves:
                    await outcomes.reach(count)
            await outcomes.reach(count)
        await asyncio.sleep(0)
        assert garbage() == {}
