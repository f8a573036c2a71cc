"""Answers that are sent whole, and what can happen to any answer before its client has been given a status."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import AccessCut
from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import answer, scripted_upstream

CHAT = ("/api/chat/stream", {"message": "Hi", "stream": False})
CHAT_STREAM = ("/api/chat/stream", {"message": "Hi"})
MESSAGES = ("/v1/messages", {"model": "m", "max_tokens": 5, "messages": []})
MESSAGES_STREAM = ("/v1/messages", {"model": "m", "max_tokens": 5, "messages": [], "stream": True})
ALL = [CHAT, CHAT_STREAM, MESSAGES, MESSAGES_STREAM]
BEGUN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


async def mute(peer):
    await peer.closed()


async def begun(peer):
    await peer.send(BEGUN)
    await peer.closed()


def code_of(told: dict) -> str:
    return told["code"] if "code" in told else told["error"]["type"]


@pytest.mark.parametrize(("ask", "code"), [(CHAT, "upstream_timeout"), (MESSAGES, "timeout_error")])
async def test_an_answer_that_stalls_in_its_middle_is_a_504(shop, ask, code):
    async with (
        scripted_upstream(begun) as claude,
        shop(claude, upstream={"idle_timeout": "50ms"}) as caller,
        caller.post(*ask) as response,
    ):
        assert code_of(await response.json()) == code
        async with asyncio.timeout(10):
            await claude.all_closed.wait()
    assert response.status == 504


@pytest.mark.parametrize(("ask", "code"), [(CHAT, "upstream_truncated"), (MESSAGES, "api_error")])
async def test_an_answer_that_is_cut_is_a_502(shop, ask, code):
    async def cut(peer):
        await peer.send(BEGUN)
        peer.writer.close()

    async with scripted_upstream(cut) as claude, shop(claude) as caller, caller.post(*ask) as response:
        assert code_of(await response.json()) == code
    assert response.status == 502


@pytest.mark.parametrize(("ask", "code"), [(CHAT, "upstream_malformed"), (MESSAGES, "api_error")])
async def test_an_answer_over_the_limit_is_a_502(shop, ask, code):
    async with (
        scripted_upstream(answer(200, b" " * 2000)) as claude,
        shop(claude, upstream={"max_answer": 1000}) as caller,
        caller.post(*ask) as response,
    ):
        assert code_of(await response.json()) == code
    assert response.status == 502


@pytest.mark.parametrize("ask", ALL)
async def test_the_deadline_of_the_whole_answer_is_a_504_before_the_commit(shop, ask):
    limits = {"chat_timeout": "1s", "total_timeout": "1s"}
    async with (
        scripted_upstream(mute) as claude,
        shop(claude, upstream=limits) as caller,
        caller.post(*ask) as response,
    ):
        assert code_of(await response.json()) in {"deadline_exceeded", "timeout_error"}
        async with asyncio.timeout(10):
            await claude.all_closed.wait()
    assert response.status == 504


@pytest.mark.parametrize("ask", ALL)
async def test_access_that_ends_before_the_commit_is_a_403(shop, ask):
    asked = asyncio.Event()

    async def script(peer):
        asked.set()
        await peer.closed()

    async def cut(caller):
        await asked.wait()
        assert caller.gateway.services.streams.cut(AccessCut("Access was ended.")) == 1

    async with scripted_upstream(script) as claude, shop(claude) as caller, asyncio.timeout(20):
        async with asyncio.TaskGroup() as group:
            group.create_task(cut(caller))
            async with caller.post(*ask) as response:
                assert code_of(await response.json()) in {"access_cut", "permission_error"}
        await claude.all_closed.wait()
    assert response.status == 403


@pytest.mark.parametrize("ask", [CHAT, MESSAGES])
async def test_a_connection_that_was_closed_while_idle_is_replaced_unseen(shop, ask):
    """Claude may close a connection between two answers; the request on it was never read, and is sent again."""
    body = b'{"type":"message","content":[],"model":"m","usage":{"input_tokens":1,"output_tokens":1}}'
    first = answer(200, body)

    async def hang_up(peer):
        peer.writer.close()

    async with (
        scripted_upstream(first, hang_up, first) as claude,
        shop(claude, upstream={"retries": 0}) as caller,
    ):
        for _ in range(2):
            async with caller.post(*ask) as response:
                assert response.status == 200
    assert claude.connections == 2
    assert len(claude.requests) == 3
