"""Which proxy an upstream is reached through."""

from __future__ import annotations

from urllib import request

import pytest
from pydantic import HttpUrl

from gateway.upstream.proxy import Proxy, bypassed, parse_proxy, proxy_for
from gateway.upstream.settings import TransportSettings


@pytest.mark.parametrize(
    ("url", "host", "port", "authorization"),
    [
        ("http://proxy.example:3128", "proxy.example", 3128, ""),
        ("http://proxy.example/", "proxy.example", 80, ""),
        ("HTTP://Proxy.Example:80", "proxy.example", 80, ""),
        ("http://[fd00::1]:8080", "fd00::1", 8080, ""),
        ("http://user:secret@10.1.2.3:3128", "10.1.2.3", 3128, "Basic dXNlcjpzZWNyZXQ="),
        ("http://user:s%40%2Fc%3A@proxy:3128", "proxy", 3128, "Basic dXNlcjpzQC9jOg=="),
        ("http://token@proxy:3128", "proxy", 3128, "Basic dG9rZW46"),
        ("http://u%C3%BC:p@proxy", "proxy", 80, "Basic dcO8OnA="),
    ],
)
def test_a_proxy_is_a_host_a_port_and_a_credential(url, host, port, authorization):
    assert parse_proxy(url) == Proxy(host, port, authorization)


@pytest.mark.parametrize(
    "url",
    [
        *("https://proxy.example:443", "socks5://proxy.example:1080", "ftp://proxy.example"),
        *(
            "http://",
            "http://proxy:port",
            "http://proxy:99999",
            "http://user:top-secret@",
            "http://user:top-secret@:80",
        ),
        *("http://proxy:3128/path", "http://proxy:3128/?query", "nothing", ""),
    ],
)
def test_anything_else_is_refused_in_words_that_quote_nothing(url):
    with pytest.raises(ValueError, match="allowed: http://") as caught:
        parse_proxy(url)
    assert "top-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_tunnel_is_asked_for_with_the_credential_and_named_without():
    proxy = parse_proxy("http://user:secret@proxy.example:3128")
    lines = proxy.request("api.anthropic.com", 443).decode().split("\r\n")
    assert lines[:2] == ["CONNECT api.anthropic.com:443 HTTP/1.1", "Host: api.anthropic.com:443"]
    assert lines[2].startswith("User-Agent: tokenweir/")
    assert lines[3:] == ["Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=", "", ""]
    assert str(proxy) == "proxy.example:3128"
    assert "dXNlcjpzZWNyZXQ" not in repr(proxy)
    assert b"CONNECT [::1]:443 " in Proxy("proxy", 80).request("::1", 443)
    assert str(Proxy("::1", 80)) == "[::1]:80"


# Each as the standard library has it, where it has an opinion.
NAMES = [
    ("claude.corp.example", 443, "", False),
    ("claude.corp.example", 443, "*", True),
    ("claude.corp.example", 443, "claude.corp.example", True),
    ("claude.corp.example", 443, "CLAUDE.corp.EXAMPLE", True),
    ("Claude.Corp.example", 443, "claude.corp.example", True),
    ("claude.corp.example", 443, "corp.example", True),
    ("claude.corp.example", 443, ".corp.example", True),
    ("corp.example", 443, ".corp.example", True),
    ("claudecorp.example", 443, "corp.example", False),
    ("claude.corp.example", 443, "claude", False),
    ("claude.corp.example", 443, "other.example,corp.example", True),
    ("claude.corp.example", 443, "claude.corp.example:443", True),
    ("claude.corp.example", 443, "claude.corp.example:8443", False),
    ("claude.corp.example", 8443, "corp.example:8443", True),
    ("10.1.2.3", 443, "10.1.2.3", True),
    ("10.1.2.3", 443, "10.1.2.3:443", True),
    ("10.1.2.3", 443, "10.1.2.3:80", False),
    ("10.1.2.30", 443, "10.1.2.3", False),
]
OURS = [
    ("claude.corp.example.", 443, "corp.example", True),
    ("claude.corp.example", 443, "corp.example.", True),
    ("claude.corp.example", 443, "*.corp.example", True),
    ("claude.corp.example", 443, ".", False),
    ("claude.corp.example", 443, "10.0.0.0/8", False),
    ("10.1.2.3", 443, "*", True),
    ("10.1.2.3", 443, "10.0.0.0/8", True),
    ("10.1.2.3", 443, "10.1.2.99/24", True),
    ("10.1.2.3", 443, "192.168.0.0/16", False),
    ("10.1.2.3", 443, "fd00::/8", False),
    ("10.1.2.3", 443, "2.3", False),
    ("10.1.2.3", 443, "corp.example", False),
    ("fd00::1", 443, "fd00::/8", True),
    ("fd00::1", 443, "[fd00::1]", True),
    ("fd00::1", 443, "fd00:0::1", True),
    ("fd00::1", 443, "[fd00::1]:443", True),
    ("fd00::1", 443, "[fd00::1]:80", False),
    ("localhost", 443, "", True),
    ("claude.localhost", 443, "", True),
    ("127.0.0.2", 443, "", True),
    ("::1", 443, "", True),
]


@pytest.mark.parametrize(("host", "port", "no_proxy", "direct"), [*NAMES, *OURS])
def test_no_proxy_says_what_is_reached_directly(host, port, no_proxy, direct):
    assert bypassed(host, port, no_proxy.split(",")) is direct


@pytest.mark.parametrize(("host", "port", "no_proxy", "direct"), NAMES)
def test_it_is_read_as_the_standard_library_reads_it(host, port, no_proxy, direct):
    assert bool(request.proxy_bypass_environment(f"{host}:{port}", {"no": no_proxy})) is direct


def test_https_and_http_upstreams_have_a_proxy_each():
    settings = TransportSettings(https_proxy="one:1", http_proxy="http://two:2", no_proxy=("direct.example",))
    assert proxy_for(HttpUrl("https://claude.example"), settings) == Proxy("one", 1)
    assert proxy_for(HttpUrl("http://claude.example"), settings) == Proxy("two", 2)
    assert proxy_for(HttpUrl("https://direct.example"), settings) is None
    assert proxy_for(HttpUrl("https://[::1]:8443"), settings) is None


@pytest.mark.parametrize("url", [None, "", " ", "off"])
def test_without_a_proxy_everything_is_reached_directly(url):
    assert proxy_for(HttpUrl("https://claude.example"), TransportSettings(https_proxy=url)) is None


def test_a_proxy_that_cannot_be_used_is_no_matter_to_what_is_reached_directly():
    settings = TransportSettings(https_proxy="https://proxy.example", no_proxy=("direct.example",))
    assert proxy_for(HttpUrl("https://direct.example"), settings) is None
    with pytest.raises(ValueError, match="not supported"):
        proxy_for(HttpUrl("https://claude.example"), settings)


def test_settings_do_not_show_the_credential():
    assert "secret" not in repr(TransportSettings(https_proxy="http://user:secret@proxy:3128"))
