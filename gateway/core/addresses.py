"""Which client a request comes from, when proxies stand in between.

- ``X-Forwarded-For`` is believed only as far as trusted proxies wrote it: from the right, the first address that is
  not one of theirs is the client's. Whatever stands left of it may be invented.
- What is not an address (``unknown``, an obfuscated name, garbage) ends the walk: the client is the last one found.
- Several header lines are one list, in their order. Ports, brackets and zones are no part of an address, and an IPv4
  address written as IPv6 (``::ffff:192.0.2.1``) is the IPv4 address.
- Limits count IPv6 by /64 (:func:`bucket`): that is what one household or machine gets, and it can pick any address
  within it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Longer chains do not exist; a header of 8 KiB of trusted addresses would cost a millisecond.
_MAX_HOPS = 32
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d{1,5})?|(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}")
_NETWORK_BITS = ((1 << 64) - 1) << 64
# An address with brackets, zone and port; what is longer is none, and is not remembered.
_LONGEST = 100
# Reading an address costs 10 us, and one client sends many requests.
_REMEMBERED = 4096


class TrustedProxies:
    """The proxies whose word about the client counts.

    Args:
        networks: Their networks, ``[server] trusted_proxies``.
    """

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)

    def client_address(self, peer: str, forwarded: Sequence[str] = ()) -> str:
        """Return the client's address in its one form.

        Args:
            peer: Address of the connection; what is none (a Unix socket's) is returned as it is and trusted nothing.
            forwarded: Every ``X-Forwarded-For`` line.
        """
        if not self._networks:
            return _one_form(peer)
        client = _parsed(peer)
        if client is None:
            return peer
        for hop in reversed(",".join(forwarded).rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]):
            if not self._trusts(client):
                break
            found = _parsed(hop)
            if found is None:
                break
            client = found
        return str(client)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


@lru_cache(_REMEMBERED)
def bucket(address: str) -> str:
    """Return what limits count ``address`` by: IPv4 as it is, IPv6 by its /64."""
    parsed = _parsed(address)
    if not isinstance(parsed, IPv6Address):
        return address if parsed is None else str(parsed)
    return f"{IPv6Address(int(parsed) & _NETWORK_BITS)}/64"


def is_loopback(listen: str) -> bool:
    """Say whether only this machine can reach HOST:PORT."""
    host = listen.rpartition(":")[0].strip("[]")
    address = _parsed(host)
    return address.is_loopback if address is not None else host == "localhost" or host.endswith(".localhost")


@lru_cache(_REMEMBERED)
def _one_form(peer: str) -> str:
    client = _parsed(peer)
    return peer if client is None else str(client)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in ``text``, None if there is none."""
    text = text.strip()
    return _read(text) if len(text) <= _LONGEST else None


@lru_cache(_REMEMBERED)
def _read(text: str) -> IPv4Address | IPv6Address | None:
    match = _WITH_PORT.fullmatch(text)
    if match is not None:
        text = match[1] or match[2] or ""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))  # the number alone: without a zone
