"""Requests as nobody would write them, thousands of bytes at a time: a 4xx or the end of the connection, soon.

The examples are the same in each run; ``FUZZ_EXAMPLES=10000`` looks further. Each is sent to one gateway that keeps
running, and after each it must be at rest and serve a good request.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings
from tests.support.clients import FAST
from tests.support.gateway import Caller, configuration
from tests.support.hostile import AFTER, KEY, at_rest, statuses_of
from tests.support.observed import Outcomes, eventually, observed
from tests.support.raw_client import connected

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "120")),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
GONE = 499

# What is usual, then what is not: most of a request is usual, or nothing but its first line would ever be looked at.
METHODS = (
    [b"GET", b"POST", b"POST", b"POST"],
    [b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"CONNECT", b"TRACE", b"PRI", b"get"],
)
TARGETS = (
    [
        *(b"/api/chat/stream", b"/v1/messages", b"/v1/messages/count_tokens", b"/v1/models", b"/v1/models/claude-x"),
        *(b"/health", b"/", b"/openapi.json", b"/nothing", b"/api/chat/stream?message=hi", b"/v1/messages?beta=true"),
    ],
    [
        *(b"*", b"/%ff", b"//v1/messages", b"/v1/../v1/messages", b"/api/chat/stream?message=%ff", b"http://a/health"),
        *(b"a:443", b"/\xff", b"/?\x00", b"/api/chat/stream?" + b"a=b&" * 500, b""),
    ],
)
VERSIONS = ([b"HTTP/1.1"], [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b""])
SEPARATORS = ([b": "], [b":", b" : ", b":\t", b""])
VALUES = {
    b"Host": ([b"gateway.test"], [b"", b"a b", b"\xff"]),
    b"Content-Length": ([b"0"], [b"5", b"99999999999", b"-1", b"+5", b"5, 5", b"0x5", b"1e3"]),
    b"Transfer-Encoding": (
        [b"chunked"],
        [b"Chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"\x0bchunked"],
    ),
    b"Content-Encoding": ([b"gzip", b"identity"], [b"deflate", b"br", b"gzip, gzip", b""]),
    b"Content-Type": ([b"application/json"], [b"text/plain", b"multipart/form-data; boundary=x", b"\xff"]),
    b"Connection": ([b"close", b"keep-alive"], [b"Upgrade", b"close, keep-alive", b"Content-Length"]),
    b"Upgrade": ([b"websocket", b"h2c"], [b"TLS/1.0", b""]),
    b"Expect": ([b"100-continue"], [b"200-ok", b""]),
    b"Authorization": ([b"Bearer " + KEY, b"Basic eDp5"], [b"Bearer", b"Bearer \xff", b"Bearer a b"]),
    b"x-api-key": ([KEY], [b"tw_x_y", b"", b"\xc3\xbc"]),
    b"Origin": ([b"https://shop.example"], [b"null", b"https://a:99999999", b"\xff"]),
    b"Access-Control-Request-Method": ([b"POST"], [b"GET", b"\xff"]),
    b"Sec-Fetch-Site": ([b"same-origin"], [b"cross-site", b"\xff"]),
    b"X-Forwarded-For": ([b"1.2.3.4"], [b"::1, nonsense, 300.1.1.1", b"," * 500, b"\xff"]),
    b"X-Request-Id": ([b"mine"], [b"a" * 5_000, b"\xff\x80"]),
    b"traceparent": ([b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"], [b"00-0-0-0", b"\xff"]),
    b"tracestate": ([b"a=b"], [b"," * 2_000, b"\xff"]),
    b"anthropic-version": ([b"2023-06-01"], [b"", b"\xff"]),
    b"anthropic-beta": ([b"a,b,c"], [b"files-api-2025-04-14", b"\xff"]),
    b"Accept": ([b"text/event-stream"], [b"*/*;q=9", b"\xff"]),
    b"Range": ([b"bytes=0-5"], [b"bytes=-"]),
}
ASKED = (
    b'{"model":"claude-sonnet-5-5","max_tokens":20,"stream":true,"messages":[{"role":"user","content":"hi"}]}',
    b'{"model":"claude-sonnet-5-5","max_tokens":20,"messages":[{"role":"user","content":"hi"}]}',
    b'{"message":"hi"}',
    b'{"message":"hi","stream":false}',
)
FRAGMENTS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b" ",
        b"\t",
        b":",
        b"\xff",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"\r\n ",
        b"%",
        b"\xc0\x80",
        b"\x0b",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\n",
        b"GET /health HTTP/1.1\r\n",
        b"HTTP/1.1",
        b"ffffffff\r\n",
    ),
    *(b'"', b"{", b"[" * 2_000, b"}", b"\\ud800", b"NaN", b"1e999", b"9" * 500, b"x" * 40_000),
]


def _mostly(choices: tuple[list[bytes], list[bytes]]) -> st.SearchStrategy[bytes]:
    usual, odd = choices
    # Not zero, which is drawn far more often than its share.
    return st.integers(0, 19).flatmap(lambda number: st.sampled_from(odd if number == 13 else usual))


@st.composite
def _header(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from(list(VALUES) if draw(st.integers(0, 9)) == 7 else list(VALUES)[3:]))
    return name + draw(_mostly(SEPARATORS)) + draw(_mostly(VALUES[name]))


@st.composite
def _damaged(draw: st.DrawFn, of: st.SearchStrategy[bytes], most: int) -> bytes:
    """Return bytes of which some are changed, cut out, or put in."""
    data = bytearray(draw(of))
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["insert", "change", "cut"])):
            case "insert":
                data[place:place] = draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=20))
            case "change":
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                del data[place : place + draw(st.integers(1, 20))]
    return bytes(data)


_BODIES = st.sampled_from(ASKED) | st.sampled_from(ASKED) | _damaged(st.sampled_from(ASKED), 2)


@st.composite
def _framed(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Return headers that say where a body ends, truthfully or not, and the body."""
    body = draw(_BODIES)
    match draw(st.sampled_from(["length"] * 6 + ["chunks"] * 6 + ["lie", "none"])):
        case "length":
            return [b"Content-Length: %d" % len(body)], body
        case "chunks":
            cut = draw(st.integers(0, len(body)))
            parts = [part for part in (body[:cut], body[cut:]) if part]
            return [b"Transfer-Encoding: chunked"], b"".join(
                b"%x\r\n%b\r\n" % (len(p), p) for p in parts
            ) + b"0\r\n\r\n"
        case "lie":
            return [b"Content-Length: %d" % draw(st.integers(0, 2 * len(body) + 2))], body
        case _:
            return [], body


@st.composite
def _request(draw: st.DrawFn) -> bytes:
    framing, body = draw(_framed())
    line = b" ".join((draw(_mostly(METHODS)), draw(_mostly(TARGETS)), draw(_mostly(VERSIONS))))
    known = [b"Host: gateway.test", b"x-api-key: " + KEY][: draw(st.sampled_from([2] * 8 + [1, 0]))]
    headers = [*known, *framing, *draw(st.lists(_header(), max_size=3))]
    return b"\r\n".join([line, *headers]) + b"\r\n\r\n" + body


_REQUESTS = st.lists(_request(), min_size=1, max_size=3).map(b"".join)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Return what runs a coroutine where a gateway serves; it stands still in between."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        simulator = runner.run(serve_simulator(SimulatorSettings(**FAST)))
        stack.push_async_callback(simulator.close)
        server = {"header_timeout": "100ms", "body_timeout": "100ms", "max_loop_lag": 0}
        config = configuration(
            tmp_path_factory.mktemp("fuzz"), simulator.url, server=server, keys={"failures_per_minute": 10**9}
        )
        caller, outcomes = runner.run(stack.enter_async_context(observed(config)))
        try:
            yield lambda example: runner.run(example(caller, outcomes))
        finally:
            runner.run(stack.aclose())


async def _survived(caller: Caller, outcomes: Outcomes, data: bytes, cuts: list[int]) -> None:
    """Send bytes in pieces; check what they are answered with, and that a good request is served after them."""
    outcomes.all.clear()
    data = data.replace(KEY, caller.key.encode())
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    received, closed = bytearray(), asyncio.Event()

    async def read(reader: asyncio.StreamReader) -> None:
        try:
            while chunk := await reader.read(65_536):
                received.extend(chunk)
        except ConnectionError:
            pass
        closed.set()

    def quiet() -> bool:
        told = len([status for status in statuses_of(received) if status >= 200])
        return 0 < len(outcomes.all) <= told and not len(caller.gateway.services.streams)

    async with asyncio.TaskGroup() as group, connected(caller.gateway.url) as raw:
        reading = group.create_task(read(raw.reader))
        for start, end in pairwise(edges):
            raw.writer.write(data[start:end])
            await asyncio.sleep(0)
        await eventually(lambda: closed.is_set() or quiet())
        reading.cancel()
    await at_rest(caller)
    statuses = Counter(status for status in statuses_of(received) if status >= 200)
    told = Counter(outcome.status for outcome in outcomes.all if outcome.status != GONE)
    assert all(status < 500 for status in statuses | told), (statuses, outcomes.all)
    assert statuses <= told, (statuses, outcomes.all)  # each answer is one outcome; a reset may swallow answers
    outcomes.all.clear()
    async with connected(caller.gateway.url, AFTER) as raw:
        assert (await raw.answer())[0] == 200


_CUTS = st.lists(st.integers(0, 10_000), max_size=4)


@FUZZ
@given(data=_REQUESTS, cuts=_CUTS)
def test_odd_requests_are_refused_or_answered(running, data, cuts):
    running(lambda caller, outcomes: _survived(caller, outcomes, data, cuts))


@FUZZ
@given(data=_damaged(_REQUESTS, 4), cuts=_CUTS)
def test_damaged_requests_are_refused_or_answered(running, data, cuts):
    running(lambda caller, outcomes: _survived(caller, outcomes, data, cuts))


@FUZZ
@given(
    data=st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=50), min_size=1, max_size=20).map(b"".join),
    cuts=_CUTS,
)
def test_bytes_of_no_meaning_are_refused(running, data, cuts):
    running(lambda caller, outcomes: _survived(caller, outcomes, data, cuts))
