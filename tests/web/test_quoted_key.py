"""An upstream that quotes the gateway's own key: no client, no log line and no outcome gets to see it.

The key here looks like none, so that the log's last net, which knows what Claude's keys look like, has nothing to catch.
"""

from __future__ import annotations

import gzip
import json

import aiohttp
import pytest

from gateway.app import running
from gateway.core.claude import TYPE_OF_STATUS
from gateway.upstream.settings import UpstreamSettings
from tests.support.clouds import (
    ACCESS_KEY,
    ALIAS,
    AWS_HEAD,
    GOOGLE_TOKEN,
    SECRET_KEY,
    SESSION_TOKEN,
    bedrock,
    chunks,
    exception,
    vertex,
)
from tests.support.gateway import Caller, configuration, logging_to
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import BLOCK, END, SSE_HEAD, START, answer, event, scripted_upstream, text_delta

CHAT, MESSAGES = "/api/chat/stream", "/v1/messages"
KEY = "0perators-Own_kEy"
HIDDEN = b"Not liked: ***."
JSON = b"content-type: application/json"
HELD = {"commit_after": 60}  # the status waits for Claude's
AT_ONCE = {"commit_after": 0}

pytestmark = pytest.mark.parametrize("path", [CHAT, MESSAGES])


class Told:
    """The log, which keeps the outcomes that it is told."""

    def __init__(self, log) -> None:
        self._log = log
        self.outcomes = []

    def __getattr__(self, name):
        return getattr(self._log, name)

    def log_outcome(self, outcome, address=None) -> None:
        self.outcomes.append(outcome)
        self._log.log_outcome(outcome, address)


class Quoting:
    """Asks a gateway whose Claude quotes the key; keeps all that anyone is told."""

    def __init__(self, data_dir) -> None:
        self._data_dir = data_dir

    async def ask(self, script, path, *, stream=True, server=HELD) -> bytes:
        """Return the answer, head and all; the key must have been quoted, and be nowhere."""
        async with scripted_upstream(script) as claude:
            upstream = {"name": "claude", "base_url": claude.url, "api_key": KEY}
            everything = await self.ask_of(upstream, [KEY], path, stream=stream, server=server)
            assert all(request.headers["x-api-key"] == KEY for request in claude.requests)
        return everything

    async def ask_of(self, upstream, secrets, path, *, stream=True, server=HELD) -> bytes:
        """Return the same of an upstream with some secrets."""
        everything, lines, outcomes = await self._ask(upstream, path, stream=stream, server=server)
        (outcome,) = outcomes
        assert '"event":"request"' in lines
        assert outcome.upstream == upstream["name"]
        for told in (everything.decode(), lines, repr(outcomes)):
            assert not [secret for secret in secrets if secret.lower() in told.lower()]
        return everything

    async def _ask(self, settings, path, *, stream, server):
        body = {"message": "Hi", "stream": stream}
        if path == MESSAGES:
            messages = [{"role": "user", "content": "Hi"}]
            body = {"model": ALIAS, "max_tokens": 9, "stream": stream, "messages": messages}
        log = self._data_dir / "log.jsonl"
        sections = {"server": server, "upstream": {"retries": 0}, "log": {"level": "debug"}}
        config = configuration(self._data_dir, settings["base_url"], **sections)
        config = config.model_copy(update={"upstreams": (UpstreamSettings.model_validate(settings),)})
        with logging_to(log, config.log) as sink:
            told = Told(sink)
            async with running(config, told) as gateway, aiohttp.ClientSession() as session:
                gateway.store.ensure_tenant("acme", "default")
                _, key = gateway.store.create_key("acme", gateway.peppers)
                caller = Caller(gateway, session, key.text)
                sent = json.dumps(body).encode()
                head = f"x-api-key: {caller.key}", "connection: close"
                async with connected(gateway.url, request_bytes("POST", path, *head, body=sent)) as raw:
                    everything = await raw.rest()
        return everything, log.read_text(), told.outcomes


@pytest.fixture
def quoting(tmp_path):
    return Quoting(tmp_path)


def said(kind: str) -> str:
    return json.dumps({"type": "error", "error": {"type": kind, "message": f"Not liked: {KEY}."}})


def error_event(kind: str) -> bytes:
    return f"event: error\ndata: {said(kind)}\n\n".encode()


def streamed(*parts: bytes, head: bytes = SSE_HEAD):
    async def script(peer) -> None:
        await peer.send(head)
        for part in parts:
            await peer.chunk(part)
        await peer.end()

    return script


def begun() -> bytes:
    return START + BLOCK + text_delta("Hel")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
@pytest.mark.parametrize("server", [HELD, AT_ONCE], ids=["held", "committed"])
async def test_a_refusal(quoting, path, status, stream, server):
    headers = f"request-id: req_{KEY}", f"anthropic-note: {KEY}", f"anthropic-{KEY}: 1", f"retry-after: {KEY}"
    script = answer(status, said(TYPE_OF_STATUS[status]).encode(), JSON, *(line.encode() for line in headers))
    everything = await quoting.ask(script, path, stream=stream, server=server)
    # On the chat's route some kinds have a sentence of their own, and nothing is said of our credential.
    shown = status in (400, 404) or (path == MESSAGES and status != 401)
    assert (HIDDEN in everything) == shown
    if status != 401 and path == MESSAGES and (server is HELD or not stream):
        assert b"anthropic-note: ***" in everything.lower()
        assert b"anthropic-***: 1" in everything.lower()
        assert b"request-id: req_***" in everything.lower()


@pytest.mark.parametrize("kind", ["invalid_request_error", "overloaded_error", "authentication_error", "no_such_error"])
@pytest.mark.parametrize("before", ["first", "after a ping", "in the middle", "in the middle, in one read"])
async def test_an_error_event(quoting, path, kind, before):
    parts = {
        "first": [],
        "after a ping": [event("ping")],
        "in the middle": [begun()],
        "in the middle, in one read": [],
    }[before]
    last = error_event(kind)
    if before.endswith("read"):
        last = begun() + last + text_delta(f"never {KEY}") + END
    everything = await quoting.ask(streamed(*parts, last), path)
    assert (HIDDEN in everything) == (kind == "invalid_request_error" or (path == MESSAGES and kind[:4] != "auth"))
    assert (b"Hel" in everything) == before.startswith("in the middle")


@pytest.mark.parametrize("size", [1, 7, 40])
async def test_an_error_event_in_pieces(quoting, path, size):
    last = error_event("invalid_request_error")
    pieces = [last[start : start + size] for start in range(0, len(last), size)]
    assert HIDDEN in await quoting.ask(streamed(begun(), *pieces), path)


@pytest.mark.parametrize("last", [f"event: error\ndata: no JSON, but {KEY}\n\n", said("api_error").join(["event: error\ndata: ", ""])])  # fmt: skip
async def test_an_error_event_that_is_no_json_or_lacks_its_end(quoting, path, last):
    everything = await quoting.ask(streamed(begun(), last.encode()), path)
    assert (b"***" in everything) == (path == MESSAGES)


async def test_headers_of_a_good_stream(quoting, path):
    more = f"request-id: req_{KEY}\r\nanthropic-note: <{KEY}>\r\n\r\n".encode()
    everything = await quoting.ask(streamed(begun(), text_delta("lo") + END, head=SSE_HEAD[:-2] + more), path)
    assert b"anthropic-note: <***>" in everything.lower()
    assert b"Hel" in everything


async def test_a_good_stream_is_not_changed(quoting, path):
    # The name of the model, which goes into the books and the chat's last frame, is no delta.
    named = START.replace(b"claude-sonnet-5-5", f"claude-{KEY}".encode()) if path == CHAT else START
    everything = await quoting.ask(streamed(named + BLOCK, text_delta("Hel"), text_delta("lo"), END), path)
    assert (b"claude-***" in everything) == (path == CHAT)
    if path == MESSAGES:
        assert START + BLOCK in everything
        assert text_delta("Hel") in everything


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answer(200, said("invalid_request_error").encode()), id="an error with 200"),
        pytest.param(answer(200, f"I got {KEY}".encode(), b"content-type: text/plain"), id="no JSON"),
        pytest.param(answer(400, f"<p>{KEY}</p>".encode(), b"content-type: text/html"), id="a page"),
        pytest.param(answer(502, f"<p>{KEY}</p>".encode(), b"content-type: text/html"), id="a proxy's page"),
        pytest.param(answer(302, b"", f"location: /{KEY}".encode()), id="a redirect"),
        pytest.param(answer(200, b"{}", f"content-type: {KEY}/{KEY}".encode()), id="another type"),
        pytest.param(answer(400, gzip.compress(said("invalid_request_error").encode()), JSON, b"content-encoding: gzip"), id="compressed"),
        pytest.param(answer(400, b"{}", JSON, f"content-encoding: {KEY}".encode()), id="of no encoding"),
        pytest.param(answer(200, json.dumps({"type": "message", "model": KEY, "stop_reason": KEY, "content": [{"type": "text", "text": KEY}], "usage": {"input_tokens": 1, "output_tokens": 1}}).encode()), id="a message"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_what_is_no_refusal_of_claudes(quoting, path, stream, script):
    await quoting.ask(script, path, stream=stream)


@pytest.mark.parametrize("head", [f"HTTP/1.1 {KEY}", f"{KEY}", f"HTTP/1.1 400 {KEY}\r\ncontent-length: {KEY}", f"HTTP/1.1 400 Bad\r\n{KEY}"])  # fmt: skip
async def test_what_is_not_http(quoting, path, head):
    async def script(peer) -> None:
        await peer.send(head.encode() + b"\r\n\r\n")
        peer.writer.close()

    await quoting.ask(script, path)


OF_AWS = [ACCESS_KEY, SECRET_KEY, SESSION_TOKEN]


@pytest.mark.parametrize("before", [b"", chunks(begun())], ids=["first", "in the middle"])
async def test_bedrocks_exception(quoting, path, before):
    last = exception("validationException", f"Not liked: {' '.join(OF_AWS)}.")
    head = AWS_HEAD.replace(b"aws-request-1", SESSION_TOKEN.encode())
    async with scripted_upstream(streamed(before + last, head=head)) as aws:
        everything = await quoting.ask_of(bedrock(aws.url), OF_AWS, path)
    assert b"Not liked: *** *** ***." in everything


@pytest.mark.parametrize("before", [b"", begun()], ids=["first", "in the middle"])
async def test_vertexs_error_event(quoting, path, before):
    last = error_event("invalid_request_error").replace(KEY.encode(), GOOGLE_TOKEN.encode())
    async with scripted_upstream(streamed(before + last)) as google:
        everything = await quoting.ask_of(vertex(google.url), [GOOGLE_TOKEN], path)
    assert HIDDEN in everything


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_a_clouds_refusal(quoting, path, status):
    body = json.dumps({"message": f"Not liked: {' '.join(OF_AWS)}."}).encode()
    async with scripted_upstream(answer(status, body, f"x-amzn-requestid: {SECRET_KEY}".encode())) as aws:
        everything = await quoting.ask_of(bedrock(aws.url), OF_AWS, path)
    assert (b"Not liked: *** *** ***." in everything) == (status == 400 or (status == 500 and path == MESSAGES))
