"""Which mapping applies to a browser, and which browsers may read."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.origins import Origins


@dataclass(frozen=True)
class Mapping:
    origins: tuple[str, ...]
    tenant: str
    plan: str = "browser"


def tenant(origins, origin=None, fetch_site=None, host="gw.example"):
    found = origins.mapping(origin, fetch_site, host)
    return found.tenant if found else None


SHOP = Origins(
    ("https://tool.example",),
    (
        Mapping(("https://Shop.example:443", "http://shop.example:8080"), "shop"),
        Mapping(("loopback",), "local"),
        Mapping(("https://shop.example", "https://second.example"), "second"),
    ),
)


@pytest.mark.parametrize(
    ("origin", "mapped"),
    [
        ("https://shop.example", "shop"),  # listed twice: the first counts
        ("https://second.example", "second"),
        ("HTTPS://SHOP.EXAMPLE", "shop"),
        ("https://shop.example:443", "shop"),
        ("http://shop.example:8080", "shop"),
        ("http://shop.example", None),
        ("https://shop.example:8443", None),
        ("https://shop.example.evil.example", None),
        ("https://evil.example/https://shop.example", None),
        ("https://tool.example", None),  # it brings keys
        ("null", None),
        ("", None),
        ("loopback", None),
        ("same-origin", None),
        ("*", None),
        ("https://" + "a" * 500, None),
        ("http://localhost:5173", "local"),
        ("https://localhost", "local"),
        ("http://127.0.0.1:3000", "local"),
        ("http://127.255.0.9", "local"),
        ("http://[::1]:8080", "local"),
        ("http://127.0.0.256", None),
        ("http://127.0.0.1.evil.example", None),
        ("http://localhost.evil.example", None),
        ("http://localhost:5173@evil.example", None),
        ("ftp://localhost", None),
    ],
)
def test_an_origin_is_mapped_by_what_is_listed(origin, mapped):
    assert tenant(SHOP, origin) == mapped


@pytest.mark.parametrize(
    ("fetch_site", "host", "mapped"),
    [
        ("same-origin", "shop.example", "shop"),
        ("same-origin", "SHOP.example:443", "shop"),
        ("same-origin", "shop.example:8080", "shop"),
        ("same-origin", "127.0.0.1:8080", "local"),
        ("same-origin", "localhost", "local"),
        ("same-origin", "gw.example", None),
        ("same-origin", "", None),
        ("same-origin", "a/b", None),
        ("same-origin", None, None),
        ("same-site", "shop.example", None),
        ("cross-site", "127.0.0.1:8080", None),
        ("none", "127.0.0.1:8080", None),
        (None, "shop.example", None),
    ],
)
def test_without_an_origin_the_browser_vouches_for_the_host_and_the_list_decides(fetch_site, host, mapped):
    assert tenant(SHOP, None, fetch_site, host) == mapped


@pytest.mark.parametrize(
    ("origin", "fetch_site", "host", "mapped"),
    [
        (None, "same-origin", "gw.example", "own"),
        (None, "same-origin", None, None),
        (None, "cross-site", "gw.example", None),
        (None, None, "gw.example", None),
        ("https://gw.example", "same-origin", "gw.example", "own"),
        ("https://gw.example", None, "GW.example:443", "own"),
        ("http://gw.example:8080", None, "gw.example:8080", "own"),
        ("http://gw.example", None, "gw.example:8080", None),
        ("https://evil.example", "same-origin", "gw.example", None),
        ("https://gw.example", None, None, None),
        ("null", "same-origin", "gw.example", None),
    ],
)
def test_same_origin_is_the_host_that_the_request_came_to(origin, fetch_site, host, mapped):
    origins = Origins((), (Mapping(("same-origin",), "own"),))
    assert tenant(origins, origin, fetch_site, host) == mapped


@pytest.mark.parametrize("origin", [None, "null", "https://any.example", "garbage"])
def test_the_star_takes_anything_and_nothing(origin):
    origins = Origins((), (Mapping(("*",), "all"),))
    assert tenant(origins, origin, None, None) == "all"


@pytest.mark.parametrize(
    ("origin", "fetch_site", "host", "mapped"),
    [
        ("http://localhost:1", None, "localhost:1", "exact"),
        ("http://localhost:2", None, "localhost:2", "own"),
        ("http://localhost:2", None, "localhost:3", "local"),
        ("https://else.example", None, "localhost:2", "any"),
        (None, "same-origin", "localhost:1", "exact"),
        (None, "same-origin", "localhost:2", "own"),
    ],
)
def test_the_most_specific_entry_wins_whatever_the_order(origin, fetch_site, host, mapped):
    mappings = [
        Mapping(("*",), "any"),
        Mapping(("loopback",), "local"),
        Mapping(("same-origin",), "own"),
        Mapping(("http://localhost:1",), "exact"),
    ]
    assert tenant(Origins((), mappings), origin, fetch_site, host) == mapped


def test_without_mappings_nobody_is_mapped():
    assert tenant(Origins(("*",)), "https://shop.example") is None


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://tool.example", True),
        ("https://TOOL.example:443", True),
        ("https://shop.example", True),
        ("http://localhost:5173", True),
        ("https://evil.example", False),
        ("null", False),
        ("loopback", False),
        ("", False),
    ],
)
def test_configured_and_mapped_origins_may_read(origin, allowed):
    assert SHOP.cors_allowed(origin) is allowed


def test_loopback_reads_only_where_it_is_listed():
    assert not Origins(("https://tool.example",)).cors_allowed("http://localhost:5173")
    assert Origins(("loopback",)).cors_allowed("http://localhost:5173")


@pytest.mark.parametrize("origin", ["null", "https://any.example"])
def test_everyone_may_read_where_the_star_is_listed(origin):
    assert Origins(("*",)).cors_allowed(origin)
    assert Origins((), (Mapping(("*",), "all"),)).cors_allowed(origin)


def test_a_name_longer_than_names_can_be_is_not_even_looked_at():
    name = "https://" + "a." * 150 + "example"
    assert not Origins((name,)).cors_allowed(name)


@given(st.text(max_size=400), st.text(max_size=40), st.text(max_size=40))
def test_garbage_is_never_an_error_and_never_mapped(origin, fetch_site, host):
    assert tenant(SHOP, origin, fetch_site, host) is None
    assert not SHOP.cors_allowed(origin)
