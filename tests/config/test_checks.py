"""The checks that serve and config check share."""

import pytest

from gateway.config import Config
from gateway.config.checks import has_total_limit, missing_credentials, problems


def config(**sections) -> Config:
    return Config.model_validate(sections)


BROWSERS = [{"origins": ["https://shop.example"], "tenant": "shop", "plan": "browser"}]


def test_the_defaults_fit_together():
    assert problems(Config()) == []


LIMITED = {"default": {"requests_per_minute": 60, "per_user": {"concurrent_streams": 3}}}


def test_several_workers_without_limits_need_nothing():
    assert problems(config(server={"workers": 2})) == []


def test_several_workers_with_limits_must_be_told_how_to_count():
    (sentence,) = problems(config(server={"workers": 2}, plans=LIMITED))
    assert "server.workers is 2" in sentence
    assert "plans.default.requests_per_minute, plans.default.per_user.concurrent_streams" in sentence
    assert "Set redis_url, and they count together; or limits.per_worker to true" in sentence
    assert "a limit of 60 becomes 30" in sentence


def test_the_limit_that_anonymous_plans_have_unasked_counts_as_one():
    browsers = {"anonymous": BROWSERS, "plans": {"browser": {}}}
    (sentence,) = problems(config(server={"workers": 2}, **browsers))
    assert "anonymous_default.requests" in sentence


def test_several_workers_may_have_a_share_of_each_limit():
    assert problems(config(server={"workers": 3}, plans=LIMITED, limits={"per_worker": True})) == []


def test_a_limit_without_a_share_for_each_worker_is_named():
    (sentence,) = problems(config(server={"workers": 4}, plans=LIMITED, limits={"per_worker": True}))
    assert sentence.startswith("plans.default.per_user.concurrent_streams is 3, less than server.workers (4)")


@pytest.mark.parametrize("url", ["http://:hush@host", "hush", "redis:///0", "unix://", "hush@host:6379"])
def test_a_redis_that_cannot_be_is_named_without_showing_its_url(url):
    (sentence,) = problems(config(redis_url=url))
    assert sentence.startswith("redis_url names no Redis: allowed are redis://host:port/0")
    assert "hush" not in sentence


@pytest.mark.parametrize("url", ["redis://:hush@host", "rediss://host:6380/1", "unix:///run/redis.sock"])
def test_with_redis_several_workers_count_together(url):
    assert problems(config(redis_url=url, server={"workers": 2}, plans=LIMITED)) == []


def test_shares_for_when_redis_is_away_are_for_all_workers():
    limits = {"on_store_failure": "local", "replicas": 3}
    (sentence,) = problems(config(redis_url="redis://host", server={"workers": 4}, limits=limits))
    assert sentence.startswith("limits.replicas is 3, less than server.workers (4)")
    assert problems(config(redis_url="redis://host", server={"workers": 3}, limits=limits)) == []


@pytest.mark.parametrize(
    "url", ["data/tokenweir.db", "mysql://user:hush@host/db", "postgresql://user:hush@host", "sqlite://"]
)
def test_a_database_that_cannot_be_is_named_without_showing_its_url(url):
    (sentence,) = problems(config(database_url=url))
    assert sentence.startswith("database_url ")
    assert "allowed: a SQLite file, as in sqlite:///./data/tokenweir.db, or a PostgreSQL database" in sentence
    assert "hush" not in sentence


def test_a_postgresql_database_may_be():
    assert problems(config(database_url="postgresql://user:hush@host/db")) == []


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
