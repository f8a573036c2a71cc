from gateway.simulator.headers import claude_headers, preflight_headers, rate_limits


def test_the_rate_limits_are_claudes_twelve_in_its_order():
    limits = rate_limits(0.0, used_tokens=100)
    assert len(limits) == 12
    assert next(iter(limits)) == "anthropic-ratelimit-input-tokens-limit"
    assert limits["anthropic-ratelimit-input-tokens-remaining"] == "1999900"
    assert limits["anthropic-ratelimit-requests-remaining"] == "3999"
    assert limits["anthropic-ratelimit-tokens-reset"] == "1970-01-01T00:00:00Z"


def test_an_exhausted_account_has_nothing_left():
    limits = rate_limits(0.0, exhausted=True)
    assert {value for name, value in limits.items() if name.endswith("remaining")} == {"0"}


def test_the_server_says_what_it_is():
    assert claude_headers("req_1", "t")["server"] == "tokenweir-simulator"


def test_a_preflight_allows_what_it_was_asked_for():
    assert preflight_headers("x-api-key")["access-control-allow-headers"] == "x-api-key"
    assert preflight_headers("")["access-control-allow-headers"] == "*"
