"""The checks that serve and config check share."""

import pytest

from gateway.config import Config
from gateway.config.checks import has_total_limit, missing_credentials, problems


def config(**sections) -> Config:
    return Config.model_validate(sections)


BROWSERS = [{"origins": ["https://shop.example"], "tenant": "shop", "plan": "browser"}]


def test_the_defaults_fit_together():
    assert problems(Config()) == []


def test_more_than_one_worker_needs_a_shared_store():
    (sentence,) = problems(config(server={"workers": 2}))
    assert "server.workers is 2" in sentence
    assert "memory" in sentence


def test_redis_is_refused_without_showing_its_url():
    (sentence,) = problems(config(redis_url="redis://:hush@host"))
    assert sentence.startswith("redis_url is set")
    assert "hush" not in sentence


@pytest.mark.parametrize(
    ("listen", "ops_listen", "clash"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080", True),
        ("127.0.0.1:8080", "0.0.0.0:8080", True),
        ("127.0.0.1:8080", "127.0.0.2:8080", False),
        ("127.0.0.1:8080", "127.0.0.1:8081", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_one_address_cannot_be_for_everyone_and_for_operators(listen, ops_listen, clash):
    found = problems(config(server={"listen": listen, "ops_listen": ops_listen}))
    assert ["both on port 8080" in sentence for sentence in found] == [True] * clash


@pytest.mark.parametrize("url", ["https://api.anthropic.com/v1", "http://proxy.example/claude/v1/"])
def test_a_base_url_with_the_version_in_it_would_ask_for_it_twice(url):
    (sentence,) = problems(config(upstreams=[{"base_url": url}]))
    assert "ends in /v1" in sentence


@pytest.mark.parametrize(
    ("listen", "url", "circle"),
    [
        ("127.0.0.1:8080", "http://localhost:8080", True),
        ("127.0.0.1:8080", "http://[::1]:8080", True),
        ("0.0.0.0:8080", "http://127.0.0.1:8080/", True),
        ("gateway.example:443", "https://gateway.example", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8081", False),
        ("10.0.0.1:8080", "http://127.0.0.1:8080", False),
        ("0.0.0.0:8080", "http://claude.example:8080", False),
    ],
)
def test_a_gateway_that_is_its_own_upstream_is_refused(listen, url, circle):
    found = problems(config(server={"listen": listen}, upstreams=[{"base_url": url}]))
    assert any("in a circle" in sentence for sentence in found) is circle


def test_a_public_anonymous_plan_needs_a_limit_for_all_browsers_together():
    plans = {"browser": {"per_address": {"requests_per_minute": 5}}}
    public = {"server": {"listen": "0.0.0.0:8080"}, "anonymous": BROWSERS * 2, "plans": plans}
    (sentence,) = problems(config(**public))
    assert "0.0.0.0:8080" in sentence
    assert "plans.browser.requests_per_minute" in sentence
    assert problems(config(**public | {"server": {"listen": "127.0.0.1:8080"}})) == []
    assert problems(config(**public | {"server": {"listen": "0.0.0.0:8080", "allow_insecure": True}})) == []
    assert problems(config(**public | {"plans": {"browser": {"requests_per_minute": 100}}})) == []


@pytest.mark.parametrize("limit", ["requests_per_minute", "concurrent_streams"])
def test_either_limit_of_the_whole_tenant_counts(limit):
    assert has_total_limit(config(plans={"default": {limit: 1}}).plans["default"])
    assert not has_total_limit(config(plans={"default": {"per_key": {limit: 1}}}).plans["default"])


def test_claude_itself_needs_a_key_and_a_compatible_server_may_not():
    (sentence,) = missing_credentials(Config())
    assert "ANTHROPIC_API_KEY" in sentence
    assert "tokenweir demo" in sentence
    assert missing_credentials(config(upstreams=[{"api_key": "sk"}])) == []
    assert missing_credentials(config(upstreams=[{"base_url": "http://127.0.0.1:9000"}])) == []
