"""Bedrock and Vertex AI through the whole gateway, on both dialects: clients see no difference to Claude's own API."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.upstream.settings import UpstreamSettings
from tests.support.clouds import (
    ALIAS,
    AWS_HEAD,
    GOOGLE_TOKEN,
    SECRET_KEY,
    SESSION_TOKEN,
    aws_stream,
    bedrock,
    check_signature,
    chunk,
    chunks,
    exception,
    vertex,
)
from tests.support.frames import frames, joined
from tests.support.gateway import configuration, serving
from tests.support.observed import eventually
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import (
    BLOCK,
    END,
    HELLO,
    SSE_HEAD,
    START,
    Peer,
    Script,
    answer,
    scripted_upstream,
    stream,
    text_delta,
)

CHAT, MESSAGES = "/api/chat/stream", "/v1/messages"
BODY = {"model": ALIAS, "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
MESSAGE = b'{"id":"m","type":"message","role":"assistant","model":"claude-sonnet-5-5","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2,"new":1.0}}'  # fmt: skip


class Kind:
    """A cloud with its settings, its stream of some events, and its refusal of too many requests."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings = {"bedrock": bedrock, "vertex": vertex}[name]

    def stream(self, sse: bytes) -> Script:
        return aws_stream(chunks(sse)) if self.name == "bedrock" else stream(sse)

    def throttled(self) -> Script:
        if self.name == "bedrock":
            return answer(429, b'{"message":"Too many."}', b"x-amzn-errortype: ThrottlingException", b"retry-after: 0")
        return answer(429, b'{"error":{"code":429,"message":"Too many."}}', b"retry-after: 0")

    async def head(self, peer: Peer) -> None:
        await peer.send(AWS_HEAD if self.name == "bedrock" else SSE_HEAD)

    async def events(self, peer: Peer, sse: bytes) -> None:
        await peer.chunk(chunks(sse) if self.name == "bedrock" else sse)


@pytest.fixture(params=["bedrock", "vertex"])
def kind(request):
    return Kind(request.param)


def of_upstreams(data_dir: Path, *upstreams: dict[str, object], **sections: object) -> Config:
    config = configuration(data_dir, "http://127.0.0.1:9", chat={"model": ALIAS}, **sections)
    return config.model_copy(update={"upstreams": tuple(map(UpstreamSettings.model_validate, upstreams))})


@pytest.fixture
def shop(tmp_path, kind):
    return lambda cloud, **sections: serving(of_upstreams(tmp_path, kind.settings(cloud.url), **sections))


async def test_a_chat_streams_from_a_cloud(shop, kind):
    async with (
        scripted_upstream(kind.stream(HELLO)) as cloud,
        shop(cloud) as caller,
        caller.post(CHAT, {"message": "Hello"}) as response,
    ):
        read = frames(await response.read())
    assert response.status == 200
    assert joined(read) == "Hello"
    assert read[-1]["metadata"]["usage"]["outputTokens"] == 5
    if kind.name == "bedrock":
        check_signature(cloud.requests[0])


async def test_claudes_events_come_byte_for_byte(shop, kind):
    new = b'event: new_event\ndata: {"type":"new_event","big":12345678901234567890,"x":1.0}\n\n'
    body = START + BLOCK + new + text_delta("Gr\\u00fc\u00df".encode().decode()) + END
    async with (
        scripted_upstream(kind.stream(body)) as cloud,
        shop(cloud) as caller,
        caller.post(MESSAGES, BODY) as response,
    ):
        assert await response.read() == body
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["request-id"] in {"aws-request-1", "req_claude"}
    assert not [name for name in response.headers if name.lower().startswith(("x-amzn", "anthropic-"))]


async def test_whole_messages_come_on_both_dialects(shop, kind):
    async with scripted_upstream(answer(200, MESSAGE)) as cloud, shop(cloud) as caller:
        async with caller.post(MESSAGES, {**BODY, "stream": False}) as response:
            assert await response.read() == MESSAGE
        async with caller.post(CHAT, {"message": "Hello", "stream": False}) as response:
            assert (await response.json())["text"] == "Hi"


async def test_counting_tokens_and_models_are_not_found_in_claudes_words(shop):
    async with scripted_upstream() as cloud, shop(cloud) as caller:
        async with caller.post(f"{MESSAGES}/count_tokens", BODY) as response:
            assert response.status == 404
            assert (await response.json())["error"]["type"] == "not_found_error"
        async with caller.get("/v1/models") as response:
            assert response.status == 404
            assert (await response.json())["error"]["type"] == "not_found_error"
    assert cloud.connections == 0


async def test_a_refusal_for_the_moment_is_tried_again(shop, kind):
    async with (
        scripted_upstream(kind.throttled(), kind.stream(HELLO)) as cloud,
        shop(cloud) as caller,
        caller.post(MESSAGES, BODY) as response,
    ):
        assert await response.read() == HELLO
    assert len(cloud.requests) == 2


async def test_the_last_refusal_is_told_as_claudes(shop, kind):
    async with scripted_upstream(kind.throttled()) as cloud, shop(cloud, upstream={"retries": 0}) as caller:
        async with caller.post(MESSAGES, BODY) as response:
            assert response.status == 429
            error = (await response.json())["error"]
        async with caller.post(CHAT, {"message": "Hello"}) as response:
            assert response.status == 429
    assert error == {"type": "rate_limit_error", "message": "Too many."}


async def test_an_exception_before_the_first_event_is_tried_again_and_a_later_one_is_told(tmp_path):
    early = aws_stream(exception("serviceUnavailableException", "Not now."))
    late = aws_stream(chunks(START + BLOCK + text_delta("Hel")) + exception("throttlingException", "Slower."))
    async with (
        scripted_upstream(early, late) as aws,
        serving(of_upstreams(tmp_path, bedrock(aws.url))) as caller,
    ):
        async with caller.post(CHAT, {"message": "Hello"}) as response:
            *before, last = frames(await response.read())
        async with caller.post(MESSAGES, BODY) as response:
            body = await response.read()
    assert joined(before) == "Hel"
    assert last["type"] == "error"
    assert last["metadata"]["code"] == "upstream_rate_limit_error"
    told = b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error","message":"Slower."}}\n\n'
    assert body == START + BLOCK + text_delta("Hel") + told


async def test_a_refused_credential_is_told_to_the_operator_alone(shop, kind, tmp_path):
    body = json.dumps({"message": "User: arn:aws:iam::1:user/shop is not authorized", "error": {"message": "no arn"}})
    async with (
        scripted_upstream(answer(403, body.encode(), b"x-amzn-errortype: AccessDeniedException")) as cloud,
        shop(cloud) as caller,
        caller.post(MESSAGES, BODY) as response,
    ):
        text = await response.text()
    assert response.status == 502
    assert "arn" not in text
    log = (tmp_path / "log.jsonl").read_text()
    assert "upstream_credential" in log
    assert not [secret for secret in (SECRET_KEY, SESSION_TOKEN, GOOGLE_TOKEN) if secret in log + text]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_a_stream_that_is_cut_ends_in_an_error(shop, kind, path):
    async def script(peer: Peer) -> None:
        await kind.head(peer)
        await kind.events(peer, START + BLOCK + text_delta("Hel"))
        peer.reset()

    async with (
        scripted_upstream(script) as cloud,
        shop(cloud) as caller,
        caller.post(path, {**BODY, "message": "Hello"} if path == MESSAGES else {"message": "Hello"}) as response,
    ):
        body = await response.text()
    assert "Hel" in body
    assert "error" in body.rstrip().rpartition("\n\n")[2]


async def test_a_client_that_leaves_ends_the_answer_at_the_cloud(shop, kind):
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await kind.head(peer)
        await kind.events(peer, START + BLOCK + text_delta("Hel"))
        await peer.closed()
        closed.set()

    async with scripted_upstream(script) as cloud, shop(cloud) as caller:
        async with caller.post(MESSAGES, BODY) as response:
            await response.content.readany()
            assert await busy(caller) == 1
            response.close()
            async with asyncio.timeout(10):
                await closed.wait()
        (upstream,) = caller.gateway.services.upstreams
        await eventually(lambda: not upstream.pool.busy)
        assert await busy(caller) == 0


async def busy(caller) -> float:
    """Return how many connections are busy, as operators see it."""
    async with caller.session.get(f"{caller.gateway.ops_url}/metrics") as response:
        text = await response.text()
    (line,) = [line for line in text.splitlines() if "upstream_connections{" in line and 'state="busy"' in line]
    return float(line.rpartition(" ")[2])


async def test_a_client_that_reads_nothing_makes_the_cloud_wait(shop, kind):
    sent = 0
    event = text_delta("x" * 30_000)

    async def script(peer: Peer) -> None:
        nonlocal sent
        await kind.head(peer)
        await kind.events(peer, START + BLOCK)
        for _ in range(1000):
            await kind.events(peer, event)
            sent += len(event)
        await kind.events(peer, END)
        await peer.end()

    head = ("POST", MESSAGES, "Connection: close")
    async with (
        scripted_upstream(script) as cloud,
        shop(cloud) as caller,
        connected(caller.gateway.url) as raw,
    ):
        raw.writer.transport.pause_reading()
        await raw.send(request_bytes(*head, f"X-Api-Key: {caller.key}", body=json.dumps(BODY).encode()))
        jobs = caller.gateway.services.streams.running
        await eventually(lambda: any(job.relay.pauses for job in jobs))
        await settled(lambda: sent)
        assert sent < 20_000_000
        raw.writer.transport.resume_reading()
        rest = await raw.rest()
    assert sent == 1000 * len(event)
    assert rest.count(b"content_block_delta") == 2000


async def settled(value) -> None:
    """Wait until a number stays the same for a while; ended too early, the test sees less than there is."""
    looks, before = 0, value()
    async with asyncio.timeout(20):
        while looks < 100:
            await asyncio.sleep(0.002)
            looks, before = (looks + 1, before) if value() == before else (0, value())


async def test_deadlines_are_the_gateways(shop, kind):
    async def silent(peer: Peer) -> None:
        await peer.closed()

    async def falters(peer: Peer) -> None:
        await kind.head(peer)
        await kind.events(peer, START + BLOCK + text_delta("Hel"))
        await peer.closed()

    async def only_begins(peer: Peer) -> None:
        await kind.head(peer)
        await peer.closed()

    limits = {"first_event_timeout": 0.3, "chat_first_event_timeout": 0.3, "idle_timeout": 0.3, "retries": 0}
    async with scripted_upstream(silent, only_begins, falters) as cloud, shop(cloud, upstream=limits) as caller:
        async with caller.post(MESSAGES, BODY) as response:
            assert response.status == 504
        for began in (0, 1):
            async with caller.post(CHAT, {"message": "Hello"}) as response:
                *text, last = frames(await response.read())
            assert len(text) == began
            assert last["metadata"]["code"] == "upstream_timeout"
        await asyncio.wait_for(cloud.all_closed.wait(), 10)


async def test_what_claude_cannot_answer_a_cloud_does_under_its_own_name_of_the_model(tmp_path):
    claude = answer(529, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
    async with (
        scripted_upstream(claude) as anthropic,
        scripted_upstream(aws_stream(chunks(HELLO))) as aws,
        serving(
            of_upstreams(tmp_path, {"name": "claude", "base_url": anthropic.url, "api_key": "k"}, bedrock(aws.url))
        ) as caller,
        caller.post(MESSAGES, BODY) as response,
    ):
        assert await response.read() == HELLO
    assert len(anthropic.requests) == 1
    check_signature(aws.requests[0])


async def test_the_end_of_the_process_ends_what_runs(shop, kind):
    async def script(peer: Peer) -> None:
        await kind.head(peer)
        await kind.events(peer, START + BLOCK + text_delta("Hel"))
        await peer.closed()

    async with scripted_upstream(script) as cloud:
        async with shop(cloud) as caller:
            response = await caller.post(MESSAGES, BODY)
            await response.content.readany()
        await asyncio.wait_for(cloud.all_closed.wait(), 10)
        response.close()


def test_fixtures_are_events():
    """A chunk holds one event's data; the fake must not send what AWS would not."""
    assert chunk(b"{}") != chunks(HELLO)
