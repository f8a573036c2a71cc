"""config check --live against real servers that answer as Claude does, and as everything else on the way does."""

import asyncio
import json
import socket
import ssl

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.cli.live import Verdict, try_upstreams
from gateway.config import Config
from tests.support.tunnel_proxy import tunnel_proxy
from tests.support.upstreams import refusing_port

KEY = "sk-ant-hush-hush-hush-hush"
MESSAGE = {"type": "message", "content": [{"type": "text", "text": "Hello"}], "usage": {"output_tokens": 2}}


def error(kind: str, message: str) -> dict:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


class Claude:
    """A server that gives one answer and keeps what it was asked."""

    def __init__(self, status: int = 200, body: object = MESSAGE) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.requests: list[tuple[web.Request, dict]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request, await request.json()))
        return web.Response(status=self.status, body=self.body, headers={"location": "/elsewhere"})

    def server(self) -> TestServer:
        app = web.Application()
        app.router.add_post("/v1/messages", self.answer)
        return TestServer(app)


def config(url: object, key: str = KEY, **transport: object) -> Config:
    upstream = {"name": "u", "base_url": str(url), "api_key": key}
    return Config.model_validate({"upstreams": [upstream], "upstream": transport})


async def verdict(claude: Claude) -> Verdict:
    async with claude.server() as server:
        (found,) = await try_upstreams(config(server.make_url("/")))
    assert "hush" not in str(found)
    return found


async def test_a_good_key_is_valid_and_costs_ten_tokens_at_most():
    claude = Claude()
    assert str(await verdict(claude)) == "u: valid"
    ((request, body),) = claude.requests
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert body["max_tokens"] == 10
    assert body["model"] == Config().chat.model


@pytest.mark.parametrize(
    ("status", "body", "ok", "finding", "advice"),
    [
        (
            401,
            error("authentication_error", f"invalid x-api-key {KEY}"),
            False,
            "invalid (authentication_error: invalid x-api-key …)",
            "new key",
        ),
        (403, error("permission_error", "not yours"), False, "invalid (permission_error: not yours)", "new key"),
        (402, error("billing_error", "pay"), False, "no credit (billing_error: pay)", "add credit"),
        (400, error("invalid_request_error", "Your credit balance is too low"), False, "no credit (", "add credit"),
        (429, error("rate_limit_error", "slow"), True, "valid, rate limited now (", "wait"),
        (404, error("not_found_error", "model: x"), False, "HTTP 404 (not_found_error", "chat.model"),
        (404, b"<html>", False, "HTTP 404 (<html>)", "base_url"),
        (400, error("invalid_request_error", "no"), False, "HTTP 400 (", "chat.model"),
        (529, error("overloaded_error", "Overloaded"), False, "HTTP 529 (overloaded_error", "later"),
        (502, b"", False, "HTTP 502", "later"),
        (500, {"error": "text"}, False, "HTTP 500 (text)", "later"),
        (500, [], False, "HTTP 500", "later"),
        (302, b"", False, "HTTP 302", "base_url"),
        (200, b"<html>welcome", False, "answered 200, but not as Claude does", "base_url"),
    ],
)
async def test_each_answer_has_its_meaning(status, body, ok, finding, advice):
    found = await verdict(Claude(status, body))
    assert found.ok is ok
    assert found.finding.startswith(finding)
    assert advice in found.advice


async def test_every_upstream_is_asked_with_its_own_key():
    good, bad = Claude(), Claude(401, b"")
    async with good.server() as first, bad.server() as second:
        upstreams = [
            {"name": n, "base_url": str(s.make_url("/")), "api_key": n} for n, s in (("a", first), ("b", second))
        ]
        found = await try_upstreams(Config.model_validate({"upstreams": upstreams}))
    assert [(v.name, v.ok) for v in found] == [("a", True), ("b", False)]
    assert bad.requests[0][0].headers["x-api-key"] == "b"


async def test_a_compatible_server_may_take_no_key():
    claude = Claude()
    async with claude.server() as server:
        (found,) = await try_upstreams(Config.model_validate({"upstreams": [{"base_url": str(server.make_url("/"))}]}))
    assert found.ok
    assert "x-api-key" not in claude.requests[0][0].headers


async def test_nobody_listening_is_unreachable_with_the_reason():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (found,) = await try_upstreams(config(f"http://127.0.0.1:{taken.getsockname()[1]}"))
    assert not found.ok
    assert found.finding.startswith("unreachable: no connection to 127.0.0.1:")
    assert found.finding.endswith("Connection refused")
    assert "firewall" in found.advice


async def test_an_unknown_name_is_a_matter_of_dns():
    (found,) = await try_upstreams(config("http://claude.invalid"))
    assert found.finding == "unreachable: no address for claude.invalid"
    assert found.advice == "check base_url and this machine's DNS"


async def test_a_server_that_says_nothing_times_out():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (found,) = await try_upstreams(config(f"http://127.0.0.1:{silent.getsockname()[1]}", chat_timeout="50ms"))
    assert str(found) == "u: unreachable: no answer within 0.05 s → try again; raise upstream.chat_timeout"


async def test_a_full_backlog_is_a_connection_that_timed_out():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        (found,) = await try_upstreams(config(f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout="50ms"))
        for one in waiting:
            one.close()
    assert found.finding == "unreachable: no connection within 0.05 s"
    assert found.advice == "check base_url and the firewall"


@pytest.fixture
async def raw_server():
    """Start a server of raw bytes; what it answers is given."""
    servers = []

    async def start(answer: bytes) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()


async def test_a_connection_that_is_closed_is_unreachable(raw_server):
    (found,) = await try_upstreams(config(await raw_server(b"")))
    assert found.finding == "unreachable: it closed the connection without an answer"
    assert found.advice == "check base_url and the network"
    assert not found.ok


@pytest.mark.parametrize(
    ("key", "said"),
    [("x", "invalid x-api-key, not … either"), ("x-api-key", "invalid …, not x either")],
)
async def test_a_placeholder_of_a_key_leaves_the_words_whole_that_it_is_in(key, said):
    async with Claude(401, error("authentication_error", "invalid x-api-key, not x either")).server() as server:
        (found,) = await try_upstreams(config(server.make_url("/"), key))
    assert found.finding == f"invalid (authentication_error: {said})"


async def test_something_that_is_not_http_is_unreachable(raw_server):
    (found,) = await try_upstreams(config(await raw_server(b"SSH-2.0-OpenSSH\r\n")))
    assert found.finding.startswith("unreachable: ")


async def test_a_certificate_that_nobody_trusts_is_named_and_ca_file_cures_it(tmp_path):
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    claude = Claude()
    app = web.Application()
    app.router.add_post("/v1/messages", claude.answer)
    server = TestServer(app, scheme="https", host="localhost")
    await server.start_server(ssl=context)
    try:
        url = f"https://localhost:{server.port}"
        (found,) = await try_upstreams(config(url))
        assert "certificate is not trusted" in found.finding
        assert "ca_file" in found.advice
        (found,) = await try_upstreams(config(url, ca_file=str(tmp_path / "ca.pem")))
        assert found.ok
    finally:
        await server.close()


async def test_tls_to_a_port_without_it_says_so(raw_server):
    async with Claude().server() as server:
        (found,) = await try_upstreams(config(f"https://127.0.0.1:{server.port}"))
    assert found.finding.startswith("unreachable: TLS failed")
    assert found.advice == "base_url begins with https: check that this port speaks it"


async def test_a_ca_file_that_is_none_is_named(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing", encoding="utf-8")
    (found,) = await try_upstreams(config("http://127.0.0.1:1", ca_file=str(tmp_path / "ca.pem")))
    assert not found.ok
    assert "PEM" in found.advice


async def test_a_key_that_no_header_can_carry_is_invalid():
    claude = Claude()
    async with claude.server() as server:
        bad = {"upstreams": [{"base_url": str(server.make_url("/")), "api_key": "a\r\nb: c"}]}
        (found,) = await try_upstreams(Config.model_validate(bad))
    assert found.finding == "invalid: the key holds characters that no header may"
    assert found.advice == "set api_key to the key alone"
    assert claude.requests == []


async def test_it_goes_through_the_gateways_proxy():
    async with tunnel_proxy() as proxy:
        proxy.says(b"HTTP/1.1 407 Nope\r\ncontent-length: 0\r\n\r\n")
        url = proxy.url.replace("//", "//user:hush@")
        (found,) = await try_upstreams(config("https://claude.example", https_proxy=url))
        assert not found.ok
        assert found.finding == "unreachable: the proxy refused with status 407"
        assert "upstream.https_proxy" in found.advice
        assert proxy.heads[0].startswith(b"CONNECT claude.example:443 HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic dXNlcjpodXNo\r\n" in proxy.heads[0]


async def test_a_proxy_without_a_credential_that_is_not_there():
    port = refusing_port()
    (found,) = await try_upstreams(config("https://claude.example", https_proxy=f"127.0.0.1:{port}"))
    assert found.finding.startswith(f"unreachable: no connection to the proxy 127.0.0.1:{port}: ")


async def test_a_proxy_that_cannot_be_used_is_not_asked():
    (found,) = await try_upstreams(config("https://claude.example", https_proxy="https://user:hush@proxy.example"))
    assert found.finding.startswith("not asked: allowed: http://")
    assert "hush" not in str(found)
    assert found.advice == "set upstream.https_proxy to a proxy that can be used, or to off"
