"""The client's address, with and without proxies, and against those who invent one."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.addresses import TrustedProxies, bucket, is_loopback

PROXIES = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("2001:db8:aaaa::/48"), ip_network("127.0.0.1")])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["192.0.2.1"], "203.0.113.7"),  # not a proxy of ours: its header is an invention
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["6.6.6.6, 192.0.2.1"], "192.0.2.1"),  # the client wrote the first one itself
        ("10.0.0.1", ["6.6.6.6", "192.0.2.1, 10.0.0.2"], "192.0.2.1"),  # several lines are one list
        ("10.0.0.1", ["192.0.2.1,10.0.0.3 ,\t10.0.0.2"], "192.0.2.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # a client inside the trusted network
        ("10.0.0.1", ["192.0.2.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1, _hidden, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["192.0.2.1,"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1:51234"], "192.0.2.1"),
        ("10.0.0.1", ["[2001:db8::1]:51234"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", ["2001:DB8:0::1"], "2001:db8::1"),
        ("10.0.0.1", ["[]:80"], "10.0.0.1"),
        ("10.0.0.1", ["999.1.1.1"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1%eth0"], "10.0.0.1"),
        ("10.0.0.1", ["::ffff:192.0.2.1"], "192.0.2.1"),
        ("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("::ffff:203.0.113.7", ["192.0.2.1"], "203.0.113.7"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("2001:db8:aaaa::9", ["192.0.2.1"], "192.0.2.1"),
        ("", ["192.0.2.1"], ""),
        ("/run/gateway.sock", ["192.0.2.1"], "/run/gateway.sock"),
    ],
)
def test_the_client_is_the_rightmost_address_that_no_trusted_proxy_has(peer, forwarded, client):
    assert PROXIES.client_address(peer, forwarded) == client


def test_without_trusted_proxies_the_header_says_nothing():
    assert TrustedProxies().client_address("127.0.0.1", ["192.0.2.1"]) == "127.0.0.1"


def test_a_chain_of_any_length_costs_a_bounded_number_of_looks():
    chain = ["10.9.9.9" if n == 100 else "10.0.0.2" for n in range(1000)]
    assert PROXIES.client_address("10.0.0.1", [",".join(chain)]) == "10.0.0.2"


@given(st.lists(st.text(max_size=40), max_size=5))
def test_garbage_is_never_an_error_and_never_moves_an_untrusted_peer(lines):
    assert PROXIES.client_address("203.0.113.7", lines) == "203.0.113.7"
    assert PROXIES.client_address("10.0.0.1", lines)


@given(st.lists(st.ip_addresses().map(str), max_size=5))
def test_what_stands_left_of_the_client_changes_nothing(invented):
    assert PROXIES.client_address("10.0.0.1", [", ".join([*invented, "192.0.2.1", "10.0.0.5"])]) == "192.0.2.1"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_limits_count_ipv6_by_its_network(address, counted):
    assert bucket(address) == counted


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [
        ("127.0.0.1:80", True),
        ("127.8.9.1:80", True),
        ("[::1]:80", True),
        ("localhost:80", True),
        ("gateway.localhost:80", True),
        ("0.0.0.0:80", False),
        ("[::]:80", False),
        ("192.168.0.1:80", False),
        ("gateway.example:80", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(listen, loopback):
    assert is_loopback(listen) is loopback
