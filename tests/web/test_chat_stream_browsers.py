"""Browsers at ``/api/chat/stream``: cross-origin reads, preflights, and origins that act for a tenant without a key."""

from __future__ import annotations

import pytest

from tests.support.frames import frames
from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import answer, scripted_upstream

SHOP = "https://shop.example"
STRANGER = "https://stranger.example"
PATH = "/api/chat/stream"
GET = PATH + "?message=Hi"
EXPOSED = "X-Request-Id, request-id, Retry-After, RateLimit, RateLimit-Policy"


@pytest.fixture
def shop(tmp_path):
    def make(claude, *origins: str, **sections):
        mapping = [{"origins": origins or [SHOP], "tenant": "shop", "plan": "browser"}]
        sections = {"anonymous": mapping, "plans": {"browser": {}}, **sections}
        return serving(configuration(tmp_path, claude.url, **sections))

    return make


def ask(caller, path=GET, method="GET", **headers):
    """Send a request without a key."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return caller.session.request(method, caller.gateway.url + path, headers=named)


def preflight(caller, origin, path=PATH, **headers):
    return ask(caller, path, "OPTIONS", Origin=origin, Access_Control_Request_Method="POST", **headers)


# Cross-origin reads.


@pytest.mark.parametrize("path", [GET, "/api/chat/stream", "/health", "/no/such/route"])
async def test_a_listed_origin_may_read_every_answer_whatever_its_status(shop, path):
    async with scripted_upstream() as claude, shop(claude) as caller, ask(caller, path, Origin=SHOP) as response:
        await response.read()
    assert response.headers["Access-Control-Allow-Origin"] == SHOP
    assert response.headers["Access-Control-Expose-Headers"] == EXPOSED
    assert response.headers["Vary"] == "Origin"
    assert response.headers["X-Request-Id"]
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/models", "/v1/no/such/route"])
async def test_on_claudes_routes_a_page_reads_also_what_sdks_decide_by(shop, path):
    async with scripted_upstream() as claude, shop(claude) as caller, ask(caller, path, Origin=SHOP) as response:
        await response.read()
    assert response.headers["Access-Control-Expose-Headers"] == f"{EXPOSED}, retry-after-ms, x-should-retry"


async def test_a_browser_can_read_what_claude_refuses(shop):
    async with (
        scripted_upstream(answer(529, b"")) as claude,
        shop(claude, upstream={"retries": 0}) as caller,
        ask(caller, Origin=SHOP) as response,
    ):
        assert response.status == 529
    assert response.headers["Access-Control-Allow-Origin"] == SHOP


async def test_a_configured_origin_may_read_and_needs_a_key(shop):
    server = {"cors_origins": ["https://app.example"]}
    async with scripted_upstream() as claude, shop(claude, server=server) as caller:
        async with ask(caller, Origin="https://app.example") as response:
            assert response.status == 401
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        async with caller.get(GET, Origin="https://app.example") as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_a_valid_key_from_an_unlisted_origin_is_served_without_allow_origin(shop):
    async with scripted_upstream() as claude, shop(claude) as caller, caller.get(GET, Origin=STRANGER) as response:
        assert response.status == 200
        assert frames(await response.read())[-1]["type"] == "done"
    assert "Access-Control-Allow-Origin" not in response.headers
    assert response.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", [STRANGER, "null", "https://shop.example.evil.example", "http://shop.example", ""])
async def test_an_unlisted_origin_without_a_key_is_a_401_that_it_may_not_read(shop, origin):
    async with scripted_upstream() as claude, shop(claude) as caller, ask(caller, Origin=origin) as response:
        assert response.status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "Access-Control-Allow-Origin" not in response.headers
    assert not claude.requests


# Preflights.


async def test_a_preflight_from_a_listed_origin_is_a_204_that_allows_what_the_frontends_send(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        preflight(caller, SHOP, Access_Control_Request_Headers="authorization, Content-Type,x-cookie") as response,
    ):
        assert await response.read() == b""
    assert response.status == 204
    assert response.headers["Access-Control-Allow-Origin"] == SHOP
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert response.headers["Access-Control-Allow-Headers"] == "authorization, content-type"
    assert response.headers["Access-Control-Max-Age"] == "7200"
    assert response.headers["Vary"] == "Origin"


async def test_a_preflight_of_an_sdk_in_a_browser_is_allowed(shop):
    asked = "x-api-key, anthropic-version, anthropic-dangerous-direct-browser-access, x-stainless-lang"
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        preflight(caller, SHOP, "/v1/messages", Access_Control_Request_Headers=asked) as response,
    ):
        assert response.status == 204
    assert response.headers["Access-Control-Allow-Headers"] == asked
    assert response.headers["Access-Control-Allow-Methods"] == "POST"


@pytest.mark.parametrize("origin", [STRANGER, "null"])
async def test_a_preflight_from_an_unlisted_origin_is_a_403(shop, origin):
    async with scripted_upstream() as claude, shop(claude) as caller, preflight(caller, origin) as response:
        told = await response.json()
    assert response.status == 403
    assert told["code"] == "origin_not_allowed"
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_a_preflight_to_no_route_is_a_404_and_options_without_one_a_405(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        async with preflight(caller, SHOP, "/nothing") as response:
            assert response.status == 404
        async with ask(caller, PATH, "OPTIONS", Origin=SHOP) as response:
            assert response.status == 405


# Origins that act for a tenant.


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_mapped_origin_needs_no_key(shop, method):
    async with scripted_upstream() as claude, shop(claude) as caller:
        url = caller.gateway.url + (GET if method == "GET" else PATH)
        body = {} if method == "GET" else {"json": {"message": "Hi"}}
        async with caller.session.request(method, url, headers={"Origin": SHOP}, **body) as response:
            assert response.status == 200
            assert frames(await response.read())[-1]["type"] == "done"
    assert "origin" not in claude.requests[0].headers


async def test_a_key_counts_for_more_than_the_origin(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        async with caller.get(GET, Origin=SHOP) as response:
            assert response.status == 200
            assert "RateLimit" not in response.headers
        async with ask(caller, Origin=SHOP, x_api_key="tw_wrong") as response:
            assert response.status == 401


async def test_an_origin_gives_no_access_to_claudes_own_routes(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        ask(caller, "/v1/models", Origin=SHOP) as response,
    ):
        assert response.status == 401
    assert not claude.requests


async def test_the_eleventh_anonymous_request_of_an_address_in_a_minute_is_a_429(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        for _ in range(10):
            async with ask(caller, Origin=SHOP) as response:
                assert response.status == 200
        async with ask(caller, Origin=SHOP) as response:
            told = await response.json()
        assert response.status == 429
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert told["retryAfter"] == int(response.headers["Retry-After"])
        assert told["error"] == "Too many requests"
        assert told["limit"] == "address-requests-per-minute"
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        async with caller.get(GET) as response:
            assert response.status == 200
    assert len(claude.requests) == 11


async def test_addresses_are_counted_one_by_one_and_believed_only_of_trusted_proxies(shop):
    default = {"anonymous_default": {"requests": 1, "window": "60s"}}
    trusting = {"server": {"trusted_proxies": ["127.0.0.0/8"]}, **default}
    async with scripted_upstream() as claude, shop(claude, **trusting) as caller:
        statuses = []
        for address in (
            "2001:db8:0:1::1",
            "2001:db8:0:1::2",
            "2001:db8:0:2::1",
            "192.0.2.1, 203.0.113.9",
            "203.0.113.9",
        ):
            async with ask(caller, Origin=SHOP, X_Forwarded_For=address) as response:
                statuses.append(response.status)
    assert statuses == [200, 429, 200, 200, 429]


async def test_without_trusted_proxies_forwarded_addresses_mean_nothing(shop):
    async with scripted_upstream() as claude, shop(claude, anonymous_default={"requests": 1}) as caller:
        statuses = []
        for address in ("192.0.2.1", "192.0.2.2"):
            async with ask(caller, Origin=SHOP, X_Forwarded_For=address) as response:
                statuses.append(response.status)
    assert statuses == [200, 429]


async def test_a_plan_may_set_the_limit_per_address_itself(shop):
    plans = {"browser": {"per_address": {"requests_per_minute": 2}}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as caller:
        statuses = []
        for _ in range(3):
            async with ask(caller, Origin=SHOP) as response:
                statuses.append(response.status)
    assert statuses == [200, 200, 429]


async def test_a_same_origin_get_is_known_by_fetch_metadata_and_host(shop):
    async with scripted_upstream() as claude, shop(claude, "same-origin") as caller:
        for headers, status in (
            ({"Sec_Fetch_Site": "same-origin"}, 200),
            ({"Sec_Fetch_Site": "same-origin", "Host": "chat.example"}, 200),
            ({"Sec_Fetch_Site": "cross-site"}, 401),
            ({"Sec_Fetch_Site": "none"}, 401),
            ({}, 401),
            ({"Origin": STRANGER}, 401),
            ({"Origin": "https://chat.example", "Host": "chat.example"}, 200),
        ):
            async with ask(caller, **headers) as response:
                assert response.status == status, headers


async def test_a_same_origin_get_matches_a_listed_origin_by_its_host(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        async with ask(caller, Sec_Fetch_Site="same-origin", Host="shop.example") as response:
            assert response.status == 200
        async with ask(caller, Sec_Fetch_Site="same-origin", Host="stranger.example") as response:
            assert response.status == 401
        async with ask(caller, Sec_Fetch_Site="cross-site", Host="shop.example") as response:
            assert response.status == 401


@pytest.mark.parametrize("headers", [{}, {"Origin": STRANGER}, {"Origin": "null"}])
async def test_a_star_maps_everyone_absent_origins_included(shop, headers):
    async with scripted_upstream() as claude, shop(claude, "*") as caller, ask(caller, **headers) as response:
        assert response.status == 200
    assert response.headers.get("Access-Control-Allow-Origin") == headers.get("Origin")


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1:3000", "https://[::1]"])
async def test_loopback_origins_are_mapped_on_any_port(shop, origin):
    async with (
        scripted_upstream() as claude,
        shop(claude, "loopback") as caller,
        ask(caller, Origin=origin) as response,
    ):
        assert response.status == 200
    assert response.headers["Access-Control-Allow-Origin"] == origin


async def test_a_suspended_tenant_of_a_mapping_is_a_403(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        caller.gateway.store.suspend("shop")
        await caller.gateway.services.directory.synchronise()
        async with ask(caller, Origin=SHOP) as response:
            told = await response.json()
    assert response.status == 403
    assert told["code"] == "tenant_suspended"
