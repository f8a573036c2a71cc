"""The way to a cloud: its certificate verified, and through the proxy that the configuration names."""

from __future__ import annotations

import base64

import pytest

from gateway.core.call import Call
from gateway.core.errors import GatewayError, UpstreamUnreachable
from gateway.upstream.clouds import CloudUpstream
from gateway.upstream.settings import TransportSettings, UpstreamSettings
from tests.support.clouds import aws_stream, bedrock, check_signature, chunks
from tests.support.scripted_upstream import HELLO, scripted_upstream
from tests.support.tunnel_proxy import tunnel_proxy
from tests.support.upstreams import Kept, serving_as, within

CALL = Call("POST", "/v1/messages", b'{"model":"m","stream":true}', {}, "m", stream=True, max_tokens=10)
NAME = "bedrock.example"


@pytest.fixture
def certified(authority):
    return serving_as(authority, NAME, "localhost")


@pytest.fixture
def opened(spawned, trusted):
    def opened(url: str, **transport: object) -> CloudUpstream:
        settings = UpstreamSettings.model_validate(bedrock(url))
        return CloudUpstream(settings, TransportSettings(**{"ca_file": trusted, **transport}), spawned)

    return opened


async def streamed(upstream: CloudUpstream) -> bytes:
    exchange = upstream.send(await upstream.pool.acquire(), CALL, {})
    await within(exchange.head)
    kept = Kept()
    exchange.attach(kept)
    await kept.wait()
    return kept.body


async def failure(upstream: CloudUpstream) -> GatewayError:
    with pytest.raises(GatewayError) as raised:
        await streamed(upstream)
    return raised.value


async def test_a_certificate_of_the_operators_authority_is_trusted(opened, certified):
    async with scripted_upstream(aws_stream(chunks(HELLO)), tls=certified) as aws:
        assert await streamed(opened(aws.url)) == HELLO
    check_signature(aws.requests[0])


async def test_a_certificate_of_another_authority_is_refused_before_anything_is_sent(opened, certified):
    async with scripted_upstream(aws_stream(chunks(HELLO)), tls=certified) as aws:
        error = await failure(opened(aws.url, ca_file=None))
    assert type(error) is UpstreamUnreachable
    assert "certificate verify failed" in str(error.detail)
    assert not aws.requests


async def test_the_configured_proxy_is_asked_for_a_tunnel_and_the_environments_is_not(opened, certified, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with scripted_upstream(aws_stream(chunks(HELLO)), tls=certified) as aws, tunnel_proxy() as proxy:
        port = aws.url.rpartition(":")[2]
        through = f"http://user:p%40ss@127.0.0.1:{proxy.port}"
        assert await streamed(opened(f"https://{NAME}:{port}", https_proxy=through)) == HELLO
        assert await streamed(opened(aws.url, https_proxy="http://127.0.0.1:9")) == HELLO  # loopback needs none
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {NAME}:{port} HTTP/1.1\r\n".encode())
    assert base64.b64encode(b"user:p@ss") in head
    assert b"authorization: aws4" not in head.lower()
    for request in aws.requests:
        check_signature(request)
        assert "proxy-authorization" not in request.headers


async def test_a_proxy_that_refuses_is_no_answer_of_the_clouds(opened):
    async with tunnel_proxy() as proxy:
        proxy.says(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")
        error = await failure(opened(f"https://{NAME}", https_proxy=f"http://user:hush@127.0.0.1:{proxy.port}"))
    assert type(error) is UpstreamUnreachable
    assert error.detail == "ProxyError: 407 Who are you"


async def test_a_proxy_that_cannot_be_used_is_an_error_at_the_start(opened):
    with pytest.raises(ValueError, match="allowed: http://"):
        opened(f"https://{NAME}", https_proxy="socks5://proxy.example:1080")
