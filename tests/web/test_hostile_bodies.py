"""Bodies that were made to break a parser: a clear 400 in the words of the route, whatever they hold.

The connection goes on: the body was read whole, and what follows is the next request.
"""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from tests.support.gateway import configuration
from tests.support.hostile import at_rest, fate_of, post, sized
from tests.support.observed import observed
from tests.support.raw_client import connected
from tests.support.scripted_upstream import scripted_upstream

ROUTES = (b"/api/chat/stream", b"/v1/messages", b"/v1/messages/count_tokens")
SURROGATE = b'"\\ud800"'


def _message(content: bytes) -> bytes:
    return b'{"model":"claude-x","max_tokens":5,"messages":[{"role":"user","content":%b}]}' % content


def _with(field: bytes, value: bytes) -> bytes:
    return b'{"model":"claude-x","max_tokens":5,"messages":[{"role":"user","content":"x"}],"%b":%b}' % (field, value)


BODIES = {
    "nothing": b"",
    "null": b"null",
    "a number": b"1",
    "a text": b'"x"',
    "a list": b"[]",
    "two documents": b'{"message":"a"}{}',
    "zeros": bytes(5_000),
    "a byte order mark": b'\xef\xbb\xbf{"message":"a"}',
    "UTF-16": '{"message":"a"}'.encode("utf-16"),
    "Latin-1": '{"message":"ü"}'.encode("latin-1"),
    "bytes of no encoding": b'{"message":"\xff"}',
    "half a surrogate pair": b'{"message":%b}' % SURROGATE,
    "half a surrogate pair as a turn": _message(SURROGATE),
    "half a surrogate pair as a model": b'{"model":%b,"max_tokens":5,"messages":[]}' % SURROGATE,
    "a surrogate in UTF-8": b'{"message":"\xed\xa0\x80"}',
    "a NUL in a text": b'{"message":"a\x00"}',
    "NaN": b'{"message":NaN}',
    "Infinity": b'{"message":"a","maxTokens":Infinity}',
    "an endless number": b'{"message":"a","maxTokens":' + b"9" * 100_000 + b"}",
    "a number past all floats": b'{"message":"a","temperature":1e999}',
    "a number for a text": b'{"message":1,"model":2}',
    "an object for a list": b'{"message":"a","messages":{}}',
    "a field twice": b'{"model":"claude-x","model":"claude-y","max_tokens":5,"messages":[]}',
    "a number for a truth": b'{"model":"claude-x","max_tokens":5,"stream":1,"messages":[]}',
    "a hundred thousand lists": b"[" * 100_000 + b"]" * 100_000,
    "a hundred thousand objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a million lists that do not end": b"[" * 1_000_000,
    "a turn of a hundred thousand lists": _message(b"[" * 100_000 + b"]" * 100_000),
    **{f"a turn of {depth} lists": _message(b"[" * depth + b"]" * depth) for depth in (500, 990, 1_020, 1_030)},
    **{
        f"{depth} objects in {field.decode()}": _with(field, b'{"content":[' * (depth // 2) + b"]}" * (depth // 2))
        for depth in (300, 980, 1_010)
        for field in (b"tools", b"system", b"mcp_servers", b"container")
    },
}


@pytest.mark.parametrize("path", ROUTES, ids=[path.decode() for path in ROUTES])
async def test_what_is_no_request_is_a_400_and_the_connection_goes_on(tmp_path, subtests, path):
    async with scripted_upstream() as claude, observed(configuration(tmp_path, claude.url)) as (caller, outcomes):
        for name, body in BODIES.items():
            with subtests.test(name):
                fate = await fate_of(caller, outcomes, sized(body, path))
                assert (fate.statuses, fate.outcomes) == ([400, 200], [400, 200])
                assert fate.went_on
        assert not claude.requests


async def test_refusals_are_told_in_the_words_of_the_route_and_quote_little(tmp_path):
    """Whatever was sent, the answer is small."""
    async with scripted_upstream() as claude, observed(configuration(tmp_path, claude.url)) as (caller, _):
        for path in ROUTES:
            for body in (
                b"[" * 100_000,
                b'{"' + b"x" * 100_000 + b'":1}',
                _with(b"max_tokens", b'"' + b"x" * 100_000 + b'"'),
            ):
                async with caller.post(path.decode(), body) as response:
                    told = await response.read()
                    assert response.status == 400
                    assert len(told) < 2_000
                    parsed = json.loads(told)
                    assert "error" in parsed


@pytest.mark.parametrize("coding", ["gzip, chunked", "deflate, chunked", "x, chunked"])
async def test_a_coding_of_the_transfer_that_is_not_taken_is_a_400(tmp_path, coding):
    """Its chunks end the body for everyone, but what is in them is not what was meant."""
    chunks = b"10\r\n" + b'{"message":"hi"}' + b"\r\n0\r\n\r\n"
    async with scripted_upstream() as claude, observed(configuration(tmp_path, claude.url)) as (caller, outcomes):
        fate = await fate_of(caller, outcomes, post(b"Transfer-Encoding: " + coding.encode(), body=chunks))
        assert fate.outcomes == [400, 200]
        assert not claude.requests


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
@pytest.mark.parametrize("path", ROUTES, ids=[path.decode() for path in ROUTES])
async def test_a_small_body_that_unpacks_to_a_deep_one_is_a_400(tmp_path, pack, path):
    body = pack(b"[" * 5_000_000)
    encoding = b"Content-Encoding: " + (b"gzip" if pack is gzip.compress else b"deflate")
    async with scripted_upstream() as claude, observed(configuration(tmp_path, claude.url)) as (caller, outcomes):
        data = post(encoding, b"Content-Length: %d" % len(body), body=body, path=path)
        assert (await fate_of(caller, outcomes, data)).outcomes == [400, 200]


async def test_a_length_that_never_comes_is_refused_by_its_size_and_its_bytes_are_no_requests(tmp_path):
    """More is announced than is taken: what follows is that body, not a request, until the connection ends."""
    async with scripted_upstream() as claude, observed(configuration(tmp_path, claude.url)) as (caller, outcomes):
        data = post(b"Content-Length: 99999999999").replace(b"<key>", caller.key.encode())
        async with connected(caller.gateway.url, data) as raw:
            assert (await raw.answer())[0] == 413
            await raw.send(b"GET /health HTTP/1.1\r\nHost: gateway.test\r\n\r\n" * 100)
        await at_rest(caller)
        assert [outcome.status for outcome in outcomes.all] == [413]
