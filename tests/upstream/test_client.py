"""A call as bytes: address, credential, headers, and nothing that could end one of them early."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway import __version__
from gateway.core.call import Call
from gateway.upstream.connection import Connection
from tests.support.scripted_upstream import answer, scripted_upstream
from tests.support.upstreams import GET, POST, Wire, upstream_at, within


def sent(upstream, call, headers=None) -> list[str]:
    """Return the lines of a call's head, and its body."""
    wire = Wire()
    connection = Connection(print, print)
    connection.connection_made(wire)
    upstream.send(connection, call, call.headers if headers is None else headers)
    return wire.written.decode().split("\r\n")


async def test_a_post_is_claudes_with_our_credential(spawned):
    assert sent(upstream_at("https://api.anthropic.com", spawned), POST) == [
        "POST /v1/messages HTTP/1.1",
        "host: api.anthropic.com",
        f"user-agent: tokenweir/{__version__}",
        "accept-encoding: identity",
        "x-api-key: sk-ant-key",
        "anthropic-version: 2023-06-01",
        "content-type: application/json",
        "content-length: 20",
        "",
        '{"model":"claude-x"}',
    ]


async def test_a_get_has_no_body(spawned):
    lines = sent(upstream_at("https://api.anthropic.com", spawned), GET)
    assert lines[0] == "GET /v1/models HTTP/1.1"
    assert not any(line.startswith("content-") for line in lines)
    assert lines[-2:] == ["", ""]


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://api.anthropic.com", "api.anthropic.com", 443, "/v1/models"),
        ("https://api.anthropic.com/", "api.anthropic.com", 443, "/v1/models"),
        ("http://localhost", "localhost", 80, "/v1/models"),
        ("http://localhost:443", "localhost:443", 443, "/v1/models"),
        ("https://localhost:80", "localhost:80", 80, "/v1/models"),
        ("https://proxy.example:8443/team/claude/", "proxy.example:8443", 8443, "/team/claude/v1/models"),
        ("http://[::1]:9000/x", "[::1]:9000", 9000, "/x/v1/models"),
    ],
)
async def test_the_base_url_decides_host_and_path(url, host, port, target, spawned):
    upstream = upstream_at(url, spawned)
    lines = sent(upstream, GET)
    assert lines[0] == f"GET {target} HTTP/1.1"
    assert lines[1] == f"host: {host}"
    assert upstream.pool._dialer._address.port == port


async def test_an_ipv6_literal_is_reached(spawned):
    async def hello(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(hello, "::1", 0, family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    upstream = upstream_at(f"http://[::1]:{server.sockets[0].getsockname()[1]}", spawned)
    exchange = upstream.send(await within(upstream.pool.acquire()), GET, {})
    await within(exchange.head)
    assert exchange.status == 204
    upstream.pool.close()
    server.close()


@pytest.mark.parametrize("key", ["sk-ant-key\n", " sk-ant-key\r\nx-evil: 1", "sk-ant-\0key"])
async def test_a_credential_is_one_line(key, spawned):
    lines = sent(upstream_at("http://localhost", spawned, key=key), GET)
    assert [line for line in lines if line.startswith("x-evil")] == []
    assert len(lines) == len(sent(upstream_at("http://localhost", spawned), GET))


@pytest.mark.parametrize("evil", ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\rx-evil: 1", "a\0b", "a\r\n\r\nGET / HTTP/1.1"])
async def test_no_value_name_or_path_begins_another_line(evil, spawned):
    upstream = upstream_at("http://localhost", spawned)
    plain = len(sent(upstream, GET, {"anthropic-beta": "a"}))
    for call, headers in (
        (GET, {"anthropic-beta": evil}),
        (GET, {evil: "a"}),
        (Call("GET", f"/v1/models/{evil}", b"", {}), {"anthropic-beta": "a"}),
    ):
        lines = sent(upstream, call, headers)
        assert len(lines) == plain
        assert not any("\r" in line or "\n" in line or "\0" in line for line in lines)


async def test_characters_beyond_latin_arrive_as_utf8_and_halves_of_them_as_question_marks(spawned):
    async with scripted_upstream(answer(200, b"{}")) as claude:
        upstream = upstream_at(claude.url, spawned)
        connection = await within(upstream.pool.acquire())
        exchange = upstream.send(connection, GET, {"anthropic-beta": "中文", "anthropic-odd": "\udce9"})
        await within(exchange.head)
        assert claude.requests[0].headers["anthropic-beta"] == "中文"
        assert claude.requests[0].headers["anthropic-odd"] == "?"
        upstream.pool.close()
