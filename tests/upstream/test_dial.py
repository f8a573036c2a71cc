"""The steps to a connection, each failing in its own words, through proxies and without."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.errors import Overloaded, UpstreamTimeout, UpstreamUnreachable
from gateway.upstream.connection import Connection
from gateway.upstream.dial import Address, Dialer, DialFailed
from gateway.upstream.proxy import Proxy, parse_proxy
from gateway.upstream.settings import TransportSettings
from tests.support.scripted_upstream import answer, scripted_upstream
from tests.support.tunnel_proxy import tunnel_proxy
from tests.support.upstreams import PATIENCE, refusing_port, serving_as, until, upstream_at, whole, within

HELLO = answer(200, b"hello")
# Reserved for documentation: nobody is there.
NOWHERE = "192.0.2.1"


def found(*targets: tuple[str, int]):
    """Return a look-up that finds these."""
    return lambda _host, _port: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", target) for target in targets]


def dialer(host="claude.example", port=443, *, lookup=None, proxy: Proxy | None = None, tls=None, **settings):
    address = Address(host, port, tls)
    options = {} if lookup is None else {"lookup": lookup}
    return Dialer(address, proxy, TransportSettings(**settings), **options)


async def dialed(dialer: Dialer) -> Connection:
    closed = asyncio.Event()
    connection = await within(dialer.dial(lambda: Connection(lambda _: None, lambda _: closed.set())))
    connection.close()
    await within(closed.wait())
    return connection


async def failure(dialer: Dialer) -> DialFailed:
    with pytest.raises(DialFailed) as caught:
        await dialed(dialer)
    assert caught.value.error.message in {"Claude could not be reached.", "Claude could not be reached in time."}
    return caught.value


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


# Names and addresses.


async def test_a_name_that_dns_does_not_know():
    def unknown(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    failed = await failure(dialer(lookup=unknown))
    assert failed.step == "dns"
    assert isinstance(failed.error, UpstreamUnreachable)
    assert failed.error.detail == "looking up claude.example failed: gaierror: Name or service not known"


async def test_a_dns_that_hangs_is_waited_for_until_the_deadline_and_does_not_keep_other_hosts_waiting():
    hanging, asked = threading.Event(), []

    def hang(host, port):
        asked.append(host)
        hanging.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    stuck = dialer(lookup=hang, connect_timeout=0.05)
    failures = await asyncio.gather(*(failure(stuck) for _ in range(40)))
    assert {failed.step for failed in failures} == {"dns"}
    assert isinstance(failures[0].error, UpstreamTimeout)
    assert failures[0].error.detail == "looking up claude.example took longer than 0.05 s"
    assert asked == ["claude.example"]  # one thread, however many wait
    async with scripted_upstream(HELLO) as claude:
        assert (await dialed(dialer("localhost", port_of(claude.url)))).closing
    hanging.set()
    await until(lambda: stuck._resolver._running is None)


async def test_one_dead_address_of_several_does_not_matter():
    async with scripted_upstream(HELLO) as claude:
        alive = ("127.0.0.1", port_of(claude.url))
        for dead in (("127.0.0.1", refusing_port()), (NOWHERE, 443)):
            await dialed(dialer(lookup=found(dead, alive)))
        await until(lambda: claude.connections == 2)


async def test_an_address_that_moves_is_followed():
    async with scripted_upstream(HELLO) as one, scripted_upstream(HELLO) as two:
        answers = [("127.0.0.1", port_of(one.url)), ("127.0.0.1", port_of(two.url))]
        moving = dialer(lookup=lambda _host, _port: found(answers.pop(0))("", 0), dns_refresh=0)
        await dialed(moving)
        await dialed(moving)
        await until(lambda: (one.connections, two.connections) == (1, 1))


async def test_a_port_that_nobody_listens_on():
    failed = await failure(dialer("127.0.0.1", port := refusing_port()))
    assert failed.step == "tcp"
    assert failed.error.detail.startswith(f"connecting to 127.0.0.1:{port} failed: ConnectionRefusedError: ")


@pytest.mark.parametrize("step", ["tcp", "tls"])
async def test_what_hangs_is_named(step):
    """A listener whose queue is full answers no SYN; one that accepts and says nothing speaks no TLS."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0 if step == "tcp" else 10)
        fillers = [socket.socket() for _ in range(4 if step == "tcp" else 0)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        tls = ssl.create_default_context() if step == "tls" else None
        port = listener.getsockname()[1]
        failed = await failure(dialer("127.0.0.1", port, tls=tls, connect_timeout=0.1))
        assert failed.step == step
        assert isinstance(failed.error, UpstreamTimeout)
        doing = "connecting to" if step == "tcp" else "TLS with"
        assert failed.error.detail == f"{doing} 127.0.0.1:{port} took longer than 0.1 s"
        for filler in fillers:
            filler.close()


def test_the_kernel_reads_ahead_no_more_than_configured_sends_at_once_and_notices_dead_peers():
    """The receive buffer is set before the connect, where its window is agreed on."""

    async def made():
        asked = dialer(receive_buffer=65536)
        return asked._make_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0)))

    with asyncio.run(made()) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 65536  # Linux doubles it
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


# Proxies.


@pytest.mark.parametrize(
    "opened", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200\r\nvia: squid\r\ncontent-length: 5\r\n\r\n"]
)
async def test_tls_is_spoken_with_claude_through_the_tunnel(opened, authority, trusted, spawned):
    tls = serving_as(authority, "api.claude.example")
    async with scripted_upstream(HELLO, tls=tls) as claude, tunnel_proxy() as proxy:
        proxy.opened = opened
        port = port_of(claude.url)
        upstream = upstream_at(
            f"https://api.claude.example:{port}",
            spawned,
            ca_file=trusted,
            https_proxy=proxy.url.replace("//", "//us%40er:secret@"),
        )
        for _ in range(2):
            assert (await whole(upstream)).body == b"hello"
        (head,) = proxy.heads
        assert head.startswith(b"CONNECT api.claude.example:%d HTTP/1.1\r\n" % port)
        assert b"\r\nProxy-Authorization: Basic dXNAZXI6c2VjcmV0\r\n" in head
        assert claude.requests[0].headers["host"] == f"api.claude.example:{port}"
        assert "proxy-authorization" not in claude.requests[0].headers
        upstream.pool.close()
        await within(claude.all_closed.wait())


async def test_a_proxy_cannot_pass_for_claude(authority, trusted, spawned):
    """The certificate that counts is that of the upstream's name."""
    async with scripted_upstream(HELLO, tls=serving_as(authority, "evil.example")) as claude, tunnel_proxy() as proxy:
        url = f"https://api.claude.example:{port_of(claude.url)}"
        upstream = upstream_at(url, spawned, ca_file=trusted, https_proxy=proxy.url)
        with pytest.raises(UpstreamUnreachable) as caught:
            await within(upstream.pool.acquire())
        assert "Hostname mismatch" in caught.value.detail
        assert claude.requests == []


async def test_a_certificate_that_has_expired(authority, trusted):
    last_year = datetime.now(UTC) - timedelta(days=365)
    async with scripted_upstream(HELLO, tls=serving_as(authority, "localhost", not_after=last_year)) as claude:
        tls = ssl.create_default_context(cafile=trusted)
        failed = await failure(dialer("localhost", port_of(claude.url), tls=tls))
        assert failed.step == "tls"
        assert failed.error.detail.endswith("failed: the certificate is not trusted: certificate has expired")


async def test_something_that_speaks_no_tls():
    async def plain(_reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    with closing(server):
        port = server.sockets[0].getsockname()[1]
        failed = await failure(dialer("127.0.0.1", port, tls=ssl.create_default_context()))
        assert failed.step == "tls"
        assert failed.error.detail.startswith(f"TLS with 127.0.0.1:{port} failed: ")


async def test_an_http_upstream_is_reached_through_a_tunnel_too(spawned):
    async with scripted_upstream(HELLO) as claude, tunnel_proxy() as proxy:
        port = port_of(claude.url)
        upstream = upstream_at(f"http://claude.example:{port}", spawned, http_proxy=proxy.url)
        assert (await whole(upstream)).body == b"hello"
        assert proxy.heads[0].startswith(b"CONNECT claude.example:%d " % port)
        assert claude.requests[0].line == "GET /v1/models HTTP/1.1"
        upstream.pool.close()
        await within(claude.all_closed.wait())


async def test_loopback_needs_no_proxy(spawned):
    async with scripted_upstream(HELLO) as claude, tunnel_proxy() as proxy:
        upstream = upstream_at(claude.url, spawned, http_proxy=proxy.url)
        assert (await whole(upstream)).body == b"hello"
        assert proxy.heads == []
        upstream.pool.close()


OPENED = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [OPENED[i : i + 1] for i in range(len(OPENED))],
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OPENED],
        [b"HTTP/1.1 200 OK\n\n"],
        [b"HTTP/1.1 204 No Content\r\nx: " + b"a" * 60_000 + b"\r\n\r\n"],
    ],
    ids=["byte by byte", "interim answers", "bare line ends", "a long head"],
)
async def test_a_tunnel_is_open_after_any_good_answer(parts):
    async with tunnel_proxy() as proxy:
        proxy.says(*parts, close=False)
        await dialed(dialer(proxy=parse_proxy(proxy.url)))
        await until(lambda: proxy.closed)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], "it closed the connection"),
        ([b"HTTP/1.1 200 OK\r\nvia: x\r\n"], "it closed the connection"),
        (
            [b"HTTP/1.1 407 Nope\r\nproxy-authenticate: Basic\r\n\r\n"],
            "it wants other credentials (407): check the user",
        ),
        ([b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"], "it refused with status 403"),
        ([b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>user:secret</html>"], "it refused with status 502"),
        ([b"HTTP/1.1 302 Found\r\nlocation: https://login.example/\r\n\r\n"], "it refused with status 302"),
        ([b"SSH-2.0-OpenSSH_9\r\n"], "its answer is not HTTP"),
        ([b"\x15\x03\x01\x00\x02\x02"], "its answer is not HTTP"),
        ([b"HTTP/2 200\r\n\r\n"], "its answer is not HTTP"),
        ([b"HTTP/1.1 two hundred\r\n\r\n"], "its answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\nmine"], "it said more than its answer"),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000], "its answer does not end"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 500 Oops\r\n\r\n"], "it refused with status 500"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_named_and_the_credential_is_not(parts, reason):
    async with tunnel_proxy() as proxy:
        proxy.says(*parts)
        failed = await failure(dialer(proxy=parse_proxy(proxy.url.replace("//", "//user:secret@"))))
        assert failed.step == "proxy"
        assert isinstance(failed.error, UpstreamUnreachable)
        asking = f"asking the proxy 127.0.0.1:{proxy.port} for a tunnel failed: "
        assert failed.error.detail.startswith(asking + reason)
        assert "secret" not in repr(failed.error.detail)
        await until(lambda: proxy.closed)


async def test_a_proxy_that_resets():
    async with tunnel_proxy() as proxy:

        async def reset(writer):
            writer.transport.abort()

        proxy.answer = reset
        failed = await failure(dialer(proxy=parse_proxy(proxy.url)))
        assert failed.step == "proxy"


@pytest.mark.parametrize("parts", [[], [b"HTTP/1.1 200 OK\r\n"], [b"HTTP/1.1 100 Continue\r\n\r\n"]])
async def test_a_proxy_that_hangs_is_left(parts):
    async with tunnel_proxy() as proxy:
        proxy.says(*parts, close=False)
        failed = await failure(dialer(proxy=parse_proxy(proxy.url), connect_timeout=0.1))
        assert failed.step == "proxy"
        assert isinstance(failed.error, UpstreamTimeout)
        assert failed.error.detail == f"asking the proxy 127.0.0.1:{proxy.port} for a tunnel took longer than 0.1 s"
        await until(lambda: proxy.closed)


async def test_a_proxy_that_is_not_there():
    port = refusing_port()
    failed = await failure(dialer(proxy=Proxy("127.0.0.1", port)))
    assert failed.step == "tcp"
    assert failed.error.detail.startswith(f"connecting to the proxy 127.0.0.1:{port} failed: ConnectionRefusedError")


async def test_a_proxy_that_no_dns_knows():
    failed = await failure(dialer(proxy=Proxy("no-such-proxy.invalid", 80)))
    assert failed.step == "dns"
    assert failed.error.detail.startswith("looking up no-such-proxy.invalid failed: gaierror")


async def test_a_connect_that_is_given_up_while_the_proxy_thinks_leaves_no_socket():
    async with tunnel_proxy() as proxy:
        proxy.says(close=False)
        connecting = asyncio.get_running_loop().create_task(dialed(dialer(proxy=parse_proxy(proxy.url))))
        await until(lambda: proxy.heads)
        connecting.cancel()
        await until(lambda: proxy.closed)
        assert connecting.cancelled()


@pytest.mark.parametrize(("number", "limit"), [(errno.EMFILE, "open_files"), (errno.EADDRNOTAVAIL, "local_ports")])
async def test_a_socket_that_the_system_does_not_give_is_no_fault_of_the_upstream(number, limit):
    """A breaker must not open because this process has too much open."""

    def nothing_left(_host, _port):
        raise OSError(number, os.strerror(number))

    with pytest.raises(Overloaded) as refused:
        await dialed(dialer(lookup=nothing_left))
    assert (refused.value.limit, refused.value.retry_after) == (limit, 1.0)
