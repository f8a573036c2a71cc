"""Requests that were made to be misread: a clear 4xx, never a 5xx or a hang, and nothing of one read as another.

Behind each goes a good request on the same connection. It is either answered as itself, or the connection has ended.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from tests.support.gateway import configuration
from tests.support.hostile import Fate, fate_of, get, post
from tests.support.observed import observed
from tests.support.raw_client import connected
from tests.support.scripted_upstream import scripted_upstream

BODY = b'{"message":"hi"}'
CHUNKS = b"10\r\n" + BODY + b"\r\n0\r\n\r\n"
LENGTH = b"Content-Length: 16"
CHUNKED = b"Transfer-Encoding: chunked"

# Where a body ends could be understood in two ways, or not at all.
FRAMING = {
    "two lengths": post(LENGTH, LENGTH, body=BODY),
    "two different lengths": post(LENGTH, b"Content-Length: 3", body=BODY),
    "a list of lengths": post(b"Content-Length: 16, 16", body=BODY),
    "a length and chunks": post(LENGTH, CHUNKED, body=CHUNKS),
    "chunks and a length": post(CHUNKED, LENGTH, body=CHUNKS),
    "chunked twice": post(CHUNKED, CHUNKED, body=CHUNKS),
    "not chunked": post(b"Transfer-Encoding: identity", LENGTH, body=BODY),
    "nearly chunked": post(b"Transfer-Encoding: xchunked", LENGTH, body=BODY),
    "chunked, but not last": post(b"Transfer-Encoding: chunked, identity", body=CHUNKS),
    "chunked with a parameter": post(b"Transfer-Encoding: chunked;q=1", body=CHUNKS),
    "chunked and a comma": post(b"Transfer-Encoding: chunked,", body=CHUNKS),
    "quoted chunked": post(b'Transfer-Encoding: "chunked"', body=CHUNKS),
    "chunked behind a control character": post(b"Transfer-Encoding: \x0bchunked", body=CHUNKS),
    "chunked before a NUL": post(b"Transfer-Encoding: chunked\x00", body=CHUNKS),
    "chunked on a folded line": post(b"Transfer-Encoding:\r\n chunked", body=CHUNKS),
    "a space before the colon": post(b"Transfer-Encoding : chunked", body=CHUNKS),
    "a space before the name": post(b" Transfer-Encoding: chunked", body=CHUNKS),
    "chunks over HTTP/1.0": post(CHUNKED, body=CHUNKS).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "length with a plus": post(b"Content-Length: +16", body=BODY),
    "length below nothing": post(b"Content-Length: -1", body=BODY),
    "length in hex": post(b"Content-Length: 0x10", body=BODY),
    "length with a space": post(b"Content-Length: 1 6", body=BODY),
    "length with an underscore": post(b"Content-Length: 1_6", body=BODY),
    "length of other digits": post("Content-Length: ١٦".encode(), body=BODY),
    "length of nothing": post(b"Content-Length: ", body=BODY),
    "length past all numbers": post(b"Content-Length: 99999999999999999999999", body=BODY),
}
# The head is fine, the chunks are not.
CHUNK_FRAMING = {
    "line feeds alone": b"10\n" + BODY + b"\n0\n\n",
    "a size below nothing": b"-10\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size with 0x": b"0x10\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size with a space": b"10 \r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size past all numbers": b"fffffffffffffffff\r\n" + BODY,
    "no size": b"\r\n" + BODY,
    "more than the size says": b"10\r\n" + BODY + b"X\r\n0\r\n\r\n",
    "a line feed in an extension": b"10;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n",
    "framing in the trailers": b"10\r\n" + BODY + b"\r\n0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "trailers without end": b"10\r\n" + BODY + b"\r\n0\r\n" + b"a: b\r\n" * 1_000 + b"\r\n",
}
HEADS = {
    "line feeds alone": b"GET /health HTTP/1.1\nHost: a\n\n",
    "one line feed alone": b"GET /health HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "a carriage return alone": get(b"X: y\rZ: z"),
    "two hosts": get(b"Host: other.test"),
    "no host": get(host=None),
    "a NUL in the host": get(host=b"Host: a\x00b"),
    "a space before a colon": get(b"X : y"),
    "a NUL in a name": get(b"X\x00: y"),
    "a NUL in a value": get(b"X: \x00y"),
    "a control character in a name": get(b"X\x01: y"),
    "a control character in a value": get(b"X: \x01y"),
    "a delete in a value": get(b"X: \x7f"),
    "letters beyond ASCII in a name": get("Xü: y".encode()),
    "no name": get(b": y"),
    "no colon": get(b"nonsense"),
    "a folded line": get(b"X: a\r\n b"),
    "more headers than anyone has": get(*[b"a: b"] * 200),
    "a key of old web sockets": get(b"Sec-WebSocket-Key1: x"),
}
LINES = {
    "no version": b"GET /health\r\n\r\n",
    "version 0.9": get(b"Connection: keep-alive", line=b"GET /health HTTP/0.9"),
    "version 0.9 with a body": post(LENGTH, body=BODY).replace(b"HTTP/1.1", b"HTTP/0.9"),
    "version 1.2": get(line=b"GET /health HTTP/1.2"),
    "version 2": get(line=b"GET /health HTTP/2.0"),
    "a version and more": get(line=b"GET /health HTTP/1.1x"),
    "a version in small letters": get(line=b"GET /health http/1.1"),
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "a small method": get(line=b"get /health HTTP/1.1"),
    "an unknown method": get(line=b"BREW /health HTTP/1.1"),
    "tabs": get(line=b"GET\t/health\tHTTP/1.1"),
    "a space in the target": get(line=b"GET /health x HTTP/1.1"),
    "no target": get(line=b"GET HTTP/1.1"),
    "a target without a slash": get(line=b"GET health HTTP/1.1"),
    "a star": get(line=b"GET * HTTP/1.1"),
    "a space first": b" " + get(),
    "a path beyond ASCII": get(line="GET /ü HTTP/1.1".encode()),
    "a path of no encoding": get(line=b"GET /\xff\xfe HTTP/1.1"),
    "a query of no encoding": get(line=b"GET /api/chat/stream?message=\xff HTTP/1.1"),
    "a NUL in the path": get(line=b"GET /\x00 HTTP/1.1"),
    "an absolute target without a host": get(line=b"GET http:/// HTTP/1.1"),
    "an absolute target with a bad port": get(line=b"GET http://a:99999/health HTTP/1.1"),
    "an absolute target with half an address": get(line=b"GET http://[::1/health HTTP/1.1"),
    "a file": get(line=b"GET file:///etc/passwd HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "the beginning of TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    "SSH": b"SSH-2.0-OpenSSH_9\r\n",
    "mail": b"EHLO x\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "zeros": bytes(1_000),
    "streaming video": get(line=b"DESCRIBE /health RTSP/1.0"),
}
# Odd, but with one meaning only: answered, with the status, and the connection goes on.
ODD = {
    "a tab before chunked": (post(b"Transfer-Encoding:\tchunked", body=CHUNKS), 200),
    "CHUNKED": (post(b"Transfer-Encoding: CHUNKED", body=CHUNKS), 200),
    "another header that looks like framing": (post(b"Transfer_Encoding: chunked", LENGTH, body=BODY), 200),
    "a chunk with an extension": (post(CHUNKED, body=b"10;a=b\r\n" + BODY + b"\r\n0\r\n\r\n"), 200),
    "a chunk with a long extension": (
        post(CHUNKED, body=b"10;" + b"a" * 99_999 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
        200,
    ),
    "a size with zeros": (post(CHUNKED, body=b"0" * 99_999 + CHUNKS), 200),
    "a key in a trailer": (post(CHUNKED, body=CHUNKS[:-2] + b"x-api-key: other\r\n\r\n"), 200),
    "a body where none belongs": (get(b"Content-Length: 5") + b"hello", 200),
    "chunks where none belong": (get(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n", 200),
    "empty lines first": (b"\r\n\r\n" + get(), 200),
    "letters beyond ASCII in a value": (get(b"X: \xff"), 200),
    "an absolute target": (get(line=b"GET http://elsewhere.example/health HTTP/1.1"), 200),
    "two credentials": (
        get(b"Authorization: Bearer a", b"Authorization: Bearer b", line=b"GET /v1/models HTTP/1.1"),
        400,
    ),
    "a credential of no encoding": (get(b"Authorization: Bearer \xff\xfe", line=b"GET /v1/models HTTP/1.1"), 401),
    "TRACE": (get(line=b"TRACE /health HTTP/1.1"), 405),
    "PROPFIND": (get(line=b"PROPFIND /health HTTP/1.1"), 405),
    "OPTIONS *": (get(line=b"OPTIONS * HTTP/1.1"), 404),
    "a path of no encoding, in percents": (get(line=b"GET /%ff%fe HTTP/1.1"), 404),
    "half a percent": (get(line=b"GET /%f HTTP/1.1"), 404),
    "a line break in percents": (get(line=b"GET /%0d%0aX:y HTTP/1.1"), 404),
    "an Expect that nobody knows": (get(b"Expect: more"), 200),
    "an Expect that nobody knows, nowhere": (get(b"Expect: more", line=b"GET /nothing HTTP/1.1"), 404),
    "an Expect of no encoding": (get(b"Expect: \xd6"), 200),
    "an Expect that nobody knows, with a body": (post(b"Expect: more", LENGTH, body=BODY), 200),
    "a preflight from an origin that is not listed": (
        get(
            b"Origin: https://evil.example",
            b"Access-Control-Request-Method: POST",
            line=b"OPTIONS /v1/messages HTTP/1.1",
        ),
        403,
    ),
    "a query of no encoding, in percents": (
        get(b"x-api-key: <key>", line=b"GET /api/chat/stream?message=%ff%fe HTTP/1.1"),
        400,
    ),
}
# Another protocol is asked for: not spoken here, and the request is the connection's last.
UPGRADES = {
    "a web socket": (get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"), 200),
    "HTTP/2": (get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"), 200),
    "HTTP/2 with a body": (post(b"Connection: Upgrade", b"Upgrade: h2c", LENGTH, body=BODY), 200),
    "a web socket with a body": (post(b"Connection: Upgrade", b"Upgrade: websocket", LENGTH, body=BODY), 200),
    "anything": (get(b"Connection: upgrade", b"Upgrade: x"), 200),
    "a tunnel": (get(line=b"CONNECT api.anthropic.com:443 HTTP/1.1"), 404),
    "a tunnel that begins at once": (get(line=b"CONNECT a:443 HTTP/1.1") + b"\x16\x03\x01", 404),
    "a tunnel to a path": (get(line=b"CONNECT /health HTTP/1.1"), 404),
}


@pytest.fixture
def gateway(tmp_path):
    @asynccontextmanager
    async def serve():
        async with scripted_upstream() as claude, observed(configuration(tmp_path, claude.url)) as (caller, outcomes):
            yield claude, caller, outcomes

    return serve


def _refused(fate: Fate, status: int = 400) -> None:
    """Check that there was one refusal, one outcome, and the end of the connection."""
    assert fate.outcomes == [status]
    assert fate.statuses in ([status], [])  # a reset, because more was sent than was read, may swallow it
    assert fate.closed
    assert not fate.went_on


@pytest.mark.parametrize("table", [FRAMING, HEADS, LINES], ids=["framing", "heads", "lines"])
async def test_what_can_be_read_in_two_ways_or_in_none_is_refused_and_ends_the_connection(gateway, subtests, table):
    async with gateway() as (claude, caller, outcomes):
        for name, data in table.items():
            with subtests.test(name):
                _refused(await fate_of(caller, outcomes, data))
        assert not claude.requests


async def test_chunks_that_are_none_are_refused_and_end_the_connection(gateway, subtests):
    async with gateway() as (claude, caller, outcomes):
        for name, chunks in CHUNK_FRAMING.items():
            with subtests.test(name):
                _refused(await fate_of(caller, outcomes, post(CHUNKED, body=chunks)))
        assert not claude.requests


async def test_what_is_odd_and_has_one_meaning_is_answered_and_the_connection_goes_on(gateway, subtests):
    async with gateway() as (_, caller, outcomes):
        for name, (data, status) in ODD.items():
            with subtests.test(name):
                fate = await fate_of(caller, outcomes, data)
                assert (fate.statuses, fate.outcomes) == ([status, 200], [status, 200])
                assert fate.went_on


async def test_a_request_for_another_protocol_is_answered_and_is_the_connections_last(gateway, subtests):
    """What follows is of that protocol, or of an attacker who hopes that somebody takes it for a request."""
    async with gateway() as (_, caller, outcomes):
        for name, (data, status) in UPGRADES.items():
            with subtests.test(name):
                _refused(await fate_of(caller, outcomes, data), status)


@pytest.mark.parametrize("cut", [1, 20, 60])
async def test_a_request_split_behind_another_protocol_is_never_read_from_its_middle(gateway, cut):
    """What aiohttp's parser drops may be the first half of a request; its second half must not become one."""
    inner = get(b"X: " + get(), line=b"GET /nothing HTTP/1.1")
    async with gateway() as (_, caller, outcomes), connected(caller.gateway.url) as raw:
        await raw.send(get(b"Connection: Upgrade", b"Upgrade: h2c") + inner[:cut])
        status, headers, _ = await raw.answer()
        assert (status, headers["Connection"]) == (200, "close")
        raw.writer.write(inner[cut:])
        assert await raw.rest() == b""
        assert [outcome.route for outcome in outcomes.all] == ["/health"]


async def test_an_upgrade_in_a_stream_leaves_the_stream_whole_however_much_is_sent_behind_it(gateway):
    head = (b"Connection: Upgrade", b"Upgrade: websocket", LENGTH)
    async with gateway() as (_, caller, outcomes), connected(caller.gateway.url) as raw:
        await raw.send(post(*head, body=BODY).replace(b"<key>", caller.key.encode()) + bytes(300_000))
        answered = await raw.until(b'"type":"done"')
        assert b"HTTP/1.1 200" in answered
        assert (await outcomes.only()).kind == "done"


async def test_origins_that_are_not_listed_are_served_with_a_key_and_never_told_to_read_it(gateway):
    """A browser hides the answer from the page; a program does not care."""
    async with gateway() as (_, caller, _), caller.get("/health", Origin="https://evil.example") as response:
        assert response.status == 200
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]
