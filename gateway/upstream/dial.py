"""From an address to an open connection: look-up, TCP, the proxy's tunnel, TLS; all within ``connect_timeout``.

- Each step has a name, so that a failure says where it happened: ``dns``, ``tcp``, ``proxy`` or ``tls``.
- Several addresses of one host are tried a quarter of a second after each other (RFC 8305): a dead one costs no more.
- The tunnel is asked for on the bare socket, before there is a transport, so that nothing changes hands later on.
  A proxy that says more than its answer is refused, because what it says would be taken for Claude's.
- TLS is spoken with the upstream, through the tunnel: the certificate that counts is the upstream's.
- No open file or no port left here is the gateway's own trouble: the upstream is not blamed for it.
- The operator's log is told the hosts and the reason; the client that Claude could not be reached.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import aiohappyeyeballs

from gateway.core.errors import Overloaded, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.upstream.connection import Connection
from gateway.upstream.proxy import Proxy, bracketed
from gateway.upstream.resolver import Lookup, Resolver, system_lookup
from gateway.upstream.settings import TransportSettings

Step = Literal["dns", "tcp", "proxy", "tls"]

# RFC 8305's pause between two addresses of one host: the standard's figure, no setting.
_HAPPY_EYEBALLS_DELAY = 0.25
# The share of connect_timeout after which old addresses are used when DNS does not answer.
_PATIENCE = 0.4
_READ = 4096
# As Claude's SDK: an idle connection that a router has forgotten is found out by the kernel.
_KEEPALIVE_IDLE, _KEEPALIVE_INTERVAL, _KEEPALIVE_PROBES = 60, 20, 3
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_INTERIM, _GOOD = 1, 2  # hundreds
_CREDENTIALS_WANTED = 407
_LACK = "The gateway has no room for another connection to Claude. Try again shortly."
_EXHAUSTED = {errno.EMFILE: "open_files", errno.ENFILE: "open_files", errno.EADDRNOTAVAIL: "local_ports"}
_NOT_HTTP = "its answer is not HTTP"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an upstream listens."""

    host: str
    port: int
    tls: ssl.SSLContext | None

    def __str__(self) -> str:
        """Name it."""
        return f"{bracketed(self.host)}:{self.port}"


class DialFailed(Exception):
    """No connection came about.

    Args:
        step: How far it came.
        error: What the request ends with.
    """

    def __init__(self, step: Step, error: UpstreamError) -> None:
        super().__init__(error.detail)
        self.step: Step = step
        self.error = error


class _ProxyError(OSError):
    """The proxy opened no tunnel."""


class Dialer:
    """Opens connections to one upstream.

    Args:
        address: The upstream.
        proxy: What it is reached through.
        settings: Deadline and buffers.
        lookup: Asks DNS; blocks.
    """

    def __init__(
        self, address: Address, proxy: Proxy | None, settings: TransportSettings, lookup: Lookup = system_lookup
    ) -> None:
        self._address = address
        self._proxy = proxy
        self._settings = settings
        self._timeout = settings.connect_timeout
        self._first = address if proxy is None else proxy
        self._name = str(address) if proxy is None else f"the proxy {proxy}"
        self._resolver = Resolver(
            self._first.host,
            self._first.port,
            fresh_for=settings.dns_refresh,
            patience=self._timeout * _PATIENCE,
            lookup=lookup,
        )

    async def dial(self, factory: Callable[[], Connection]) -> Connection:
        """Return a connection that is open.

        Raises:
            DialFailed: There is none.
            Overloaded: The system gives no socket.
        """
        steps: list[Step] = ["dns"]
        try:
            async with asyncio.timeout(self._timeout):
                return await self._open(factory, steps)
        except TimeoutError:
            took = f"{self._doing(steps[-1])} took longer than {self._timeout:g} s"
            raise DialFailed(steps[-1], UpstreamTimeout("Claude could not be reached in time.", detail=took)) from None
        # uvloop raises RuntimeError for some sockets, and a host that is no host name is a ValueError.
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _EXHAUSTED:
                raise Overloaded(_LACK, retry_after=1.0, limit=_EXHAUSTED[error.errno]) from None
            failed = f"{self._doing(steps[-1])} failed: {_reason(error)}"
            unreachable = UpstreamUnreachable("Claude could not be reached.", detail=failed)
            raise DialFailed(steps[-1], unreachable) from None

    async def _open(self, factory: Callable[[], Connection], steps: list[Step]) -> Connection:
        loop, address = asyncio.get_running_loop(), self._address
        infos = await self._resolver.addresses()
        steps.append("tcp")
        sock = await aiohappyeyeballs.start_connection(
            infos, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY, loop=loop, socket_factory=self._make_socket
        )
        if self._proxy is not None:
            steps.append("proxy")
            await self._tunnel(loop, sock, self._proxy)
        if address.tls is not None:
            steps.append("tls")
        _, connection = await loop.create_connection(
            factory, sock=sock, ssl=address.tls, server_hostname=address.host if address.tls else None
        )
        return connection

    async def _tunnel(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy) -> None:
        try:
            await loop.sock_sendall(sock, proxy.request(self._address.host, self._address.port))
            unread: bytes | None = b""
            while unread is not None:
                unread = _beyond(unread, await loop.sock_recv(sock, _READ), self._settings.max_headers)
        except BaseException:
            sock.close()
            raise

    def _make_socket(self, info: aiohappyeyeballs.AddrInfoType) -> socket.socket:
        family, kind, proto, _, _ = info
        sock = socket.socket(family, kind, proto)
        sock.setblocking(False)
        # Before connect: the window's scale is agreed on there.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(self._settings.receive_buffer))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
        return sock

    def _doing(self, step: Step) -> str:
        return {
            "dns": f"looking up {self._first.host}",
            "tcp": f"connecting to {self._name}",
            "proxy": f"asking {self._name} for a tunnel",
            "tls": f"TLS with {self._address}",
        }[step]


def _beyond(unread: bytes, chunk: bytes, limit: int) -> bytes | None:
    """Return what of a proxy's answer is not understood yet, None when the tunnel is open.

    Raises:
        _ProxyError: It is not.
    """
    if not chunk:
        raise _ProxyError("it closed the connection")
    received = unread + chunk
    while (end := _END.search(received)) is not None:
        match = _STATUS.match(received)
        status = int(match[1]) if match else 0
        received = received[end.end() :]
        if status // 100 == _INTERIM:
            continue
        if not status:
            raise _ProxyError(_NOT_HTTP)
        if status == _CREDENTIALS_WANTED:
            raise _ProxyError("it wants other credentials (407): check the user and password in its URL")
        if status // 100 != _GOOD:
            raise _ProxyError(f"it refused with status {status}")
        if received:
            raise _ProxyError("it said more than its answer")
        return None
    if not b"HTTP/1.".startswith(received[:7]):
        raise _ProxyError(_NOT_HTTP)
    if len(received) > limit:
        raise _ProxyError("its answer does not end")
    return received


def _reason(error: Exception) -> str:
    if isinstance(error, _ProxyError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
