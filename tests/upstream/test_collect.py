"""A whole answer in memory: its limit, its encodings, and what is wrong with some."""

from __future__ import annotations

import gzip
import zlib

import pytest

from gateway.core.errors import UpstreamMalformed, UpstreamTruncated
from gateway.upstream.collect import Collector


class Answer:
    """What a collector needs of an exchange."""

    def __init__(self, encoding: str | None = None) -> None:
        self.headers = {} if encoding is None else {"content-encoding": encoding}
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


async def collected(body: bytes, encoding: str | None = None, limit: int = 1000) -> bytes:
    collector = Collector(Answer(encoding), limit)
    for start in range(0, len(body), 7):
        collector.data(body[start : start + 7])
    collector.end()
    await collector.done
    return collector.body()


@pytest.mark.parametrize("encoding", [None, "", "identity", "Identity"])
async def test_a_plain_body_is_kept_as_it_came(encoding):
    assert await collected(b"x" * 100, encoding) == b"x" * 100


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress)])  # fmt: skip
async def test_a_body_that_a_proxy_compressed_is_decompressed(encoding, compress):
    assert await collected(compress(b"hello " * 100), encoding, limit=600) == b"hello " * 100


async def test_an_encoding_that_nobody_asked_for_is_refused():
    with pytest.raises(UpstreamMalformed, match="not asked for"):
        await collected(b"x", "br")


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(b"x" * 500, mtime=0)[:-9], gzip.compress(b"x" * 500, mtime=0)[:20], b""]
)
async def test_a_damaged_encoding_is_refused(body):
    with pytest.raises(UpstreamMalformed, match="damaged") as caught:
        await collected(body, "gzip")
    assert caught.value.detail


@pytest.mark.parametrize("size", [1001, 1258, 2000, 50_000_000])
async def test_a_body_that_grows_over_the_limit_when_decompressed_is_refused_unread(size):
    """A bomb costs the limit, not its size."""
    with pytest.raises(UpstreamMalformed, match="larger"):
        await collected(gzip.compress(b"\0" * size, mtime=0), "gzip", limit=max(1000, size // 900))


async def test_a_body_over_the_limit_ends_its_exchange_and_is_not_kept():
    answer = Answer()
    collector = Collector(answer, 10)
    collector.data(b"x" * 10)
    assert not collector.done.done()
    collector.data(b"x")
    assert answer.aborted
    collector.end()
    collector.fail(UpstreamTruncated("late"))
    with pytest.raises(UpstreamMalformed, match="larger"):
        await collector.done
    with pytest.raises(UpstreamMalformed, match="larger"):
        collector.body()
    assert collector._parts == []


async def test_a_body_that_breaks_off_fails_and_may_be_left_alone():
    collector = Collector(Answer(), 10)
    collector.data(b"x")
    collector.fail(UpstreamTruncated("cut"))
    assert isinstance(collector.done.exception(), UpstreamTruncated)
