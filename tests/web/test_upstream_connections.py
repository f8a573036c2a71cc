"""A whole gateway and the connections on both of its sides: proxies, warm connections, packets, numbers."""

from __future__ import annotations

import socket

import trustme

from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.scripted_upstream import HELLO, scripted_upstream, stream
from tests.support.tunnel_proxy import tunnel_proxy
from tests.support.upstreams import serving_as

BODY = {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}], "stream": True}


async def test_a_stream_comes_through_the_proxy(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = serving_as(authority, "claude.example")
    async with scripted_upstream(stream(HELLO), tls=tls) as claude, tunnel_proxy() as proxy:
        url = claude.url.replace("localhost", "claude.example")
        way = {"https_proxy": proxy.url, "ca_file": str(tmp_path / "ca.pem")}
        async with observed(configuration(tmp_path, url, upstream=way)) as (caller, outcomes):
            async with caller.post("/v1/messages", BODY) as response:
                assert response.status == 200
                assert await response.read() == HELLO
            assert (await outcomes.only()).kind == "done"
        assert len(proxy.heads) == 1
        assert claude.requests[0].headers["x-api-key"] == "sk-ant-secret-of-the-operator"
        assert b"sk-ant" not in proxy.heads[0]


async def test_a_proxy_that_refuses_is_a_502_that_tells_the_client_nothing_of_it(tmp_path):
    async with tunnel_proxy() as proxy:
        proxy.says(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        way = {"https_proxy": proxy.url.replace("//", "//user:hush@"), "retries": 0}
        async with observed(configuration(tmp_path, "https://claude.example", upstream=way)) as (caller, outcomes):
            async with caller.post("/api/chat/stream", {"message": "Hi"}) as response:
                assert response.status == 502
                answer = await response.text()
            outcome = await outcomes.only()
        assert outcome.error_code == "upstream_unreachable"
        for hidden in ("127.0.0.1", str(proxy.port), "hush", "proxy"):
            assert hidden not in answer


async def test_connections_are_open_before_the_first_request_and_counted(tmp_path):
    async with scripted_upstream(stream(HELLO)) as claude:
        async with observed(configuration(tmp_path, claude.url, upstream={"warm_connections": 2})) as (caller, _):
            await eventually(lambda: claude.connections == 2)
            metrics = caller.gateway.services.metrics.registry

            def connections(state: str) -> float | None:
                labels = {"upstream": "claude", "state": state}
                return metrics.get_sample_value("tokenweir_upstream_connections", labels)

            await eventually(lambda: connections("idle") == 2)
            assert connections("busy") == 0
            async with caller.post("/v1/messages", BODY) as response:
                await response.read()
            connects = "tokenweir_upstream_connect_seconds_count"
            await eventually(lambda: (metrics.get_sample_value(connects, {"upstream": "claude"}) or 0) >= 2)
        await eventually(lambda: claude.open == 0)


async def test_small_packets_leave_at_once_on_both_sides(tmp_path):
    """Nagle's algorithm would hold a token back until the one before it is acknowledged: 40 ms."""
    async with scripted_upstream(stream(HELLO)) as claude, observed(configuration(tmp_path, claude.url)) as (caller, _):
        async with caller.post("/v1/messages", BODY) as response:
            await response.read()
        (upstream,) = caller.gateway.services.upstreams
        ours = [connection._transport for connection in upstream.pool._open]
        theirs = [connection.transport for connection in caller.gateway._generation.public.server.connections]
        for side in (ours, theirs):
            assert side
            for transport in side:
                assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
