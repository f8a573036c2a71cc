"""The proxy on the way to an upstream, if there is one.

- The environment's words, as curl and Claude's SDK have them: ``HTTPS_PROXY`` for https upstreams, ``HTTP_PROXY`` for
  http ones, ``NO_PROXY`` for what is reached directly. They are read once, at start, by ``gateway.config``.
- Loopback is always reached directly: no proxy elsewhere could reach it.
- ``NO_PROXY`` is read as the standard library does, whose own reading of it is not a public function, and with the
  addresses and networks that it lacks. No name is looked up for that: a network covers upstreams given by address.
- The proxy is asked for a tunnel in both cases, never for a page: its own errors cannot be taken for Claude's.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from pydantic import HttpUrl, TypeAdapter, ValidationError

from gateway import __version__
from gateway.upstream.settings import OFF, TransportSettings

_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)
_ALLOWED = "allowed: http://[user:password@]host[:port]; proxies of https:// and socks:// are not supported"


@dataclass(frozen=True, slots=True)
class Proxy:
    """One that opens tunnels.

    Attributes:
        host: Its name or address.
        port: Its port.
        authorization: What it is told about us; empty for nothing.
    """

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Name it, without the credential."""
        return f"{bracketed(self.host)}:{self.port}"

    def request(self, host: str, port: int) -> bytes:
        """Return the request for a tunnel."""
        target = f"{bracketed(host)}:{port}"
        known = f"Proxy-Authorization: {self.authorization}\r\n" if self.authorization else ""
        lines = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: tokenweir/{__version__}\r\n{known}\r\n"
        return lines.encode("ascii")


def bracketed(host: str) -> str:
    """Write a host as an authority has it."""
    return f"[{host}]" if ":" in host else host


def parse_proxy(text: str) -> Proxy:
    """Return the proxy that a URL names.

    Raises:
        ValueError: It names none that can be used; the text quotes nothing of it.
    """
    try:
        url = _URL.validate_python(text)
    except ValidationError:
        raise ValueError(_ALLOWED) from None
    if url.scheme != "http" or url.host is None or url.port is None or (url.path or "/", url.query) != ("/", None):
        raise ValueError(_ALLOWED)
    authorization = ""
    if url.username or url.password:
        pair = b"%b:%b" % (unquote_to_bytes(url.username or ""), unquote_to_bytes(url.password or ""))
        authorization = f"Basic {base64.b64encode(pair).decode('ascii')}"
    return Proxy(url.host.strip("[]"), url.port, authorization)


def proxy_for(base_url: HttpUrl, settings: TransportSettings) -> Proxy | None:
    """Return the proxy that an upstream is reached through, None where it is reached directly.

    Raises:
        ValueError: It is one that cannot be used.
    """
    text = settings.https_proxy if base_url.scheme == "https" else settings.http_proxy
    host = (base_url.host or "").strip("[]")
    if not text or text == OFF or bypassed(host, base_url.port or 0, settings.no_proxy):
        return None
    return parse_proxy(text)


def bypassed(host: str, port: int, no_proxy: Iterable[str]) -> bool:
    """Say whether a host is reached directly."""
    host = host.lower().rstrip(".")
    address = _address(host)
    if address is None:
        return f".{host}".endswith(".localhost") or any(_names(entry, host, port) for entry in no_proxy)
    return address.is_loopback or any(_covers(entry, address, port) for entry in no_proxy)


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, colon, at = entry.lower().partition(":")
    name = name.removeprefix("*").strip(".")
    return bool(name) and f".{host}".endswith(f".{name}") and (not colon or at == str(port))


def _covers(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
    if entry == "*":
        return True
    if (alone := _address(entry.strip("[]"))) is not None:
        return alone == address
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        host, _, at = entry.rpartition(":")
        return at == str(port) and _address(host.strip("[]")) == address


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
