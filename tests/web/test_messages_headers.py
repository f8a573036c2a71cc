"""Headers on Claude's own routes: what goes upstream, what comes back, ids and traces."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import HELLO, answer, scripted_upstream

ASK = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
PATH = "/v1/messages"
HEADERS_OF_CLAUDE = (
    b"content-type: text/event-stream",
    b"Request-Id: req_claude",
    b"X-Should-Retry: true",
    b"Retry-After: 3",
    b"retry-after-ms: 2500",
    b"anthropic-version: 2023-06-01",
    b"anthropic-of-tomorrow: yes",
    b"anthropic-organization-id: org-secret",
    b"anthropic-workspace-id: wrk-secret",
    b"anthropic-ratelimit-requests-remaining: 49",
    b"anthropic-ratelimit-unified-status: allowed",
    b"anthropic-fast-ratelimit-limit: 1",
    b"anthropic-priority-input-tokens-limit: 1",
    b"set-cookie: session=secret",
    b"server: cloudflare",
    b"cf-ray: secret",
    b"via: 1.1 secret",
    b"access-control-allow-origin: *",
    b"x-request-id: of-the-upstream",
)


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


async def sent(shop, **headers):
    """Return the headers that Claude gets of a request with these."""
    async with scripted_upstream() as claude, shop(claude) as caller, caller.post(PATH, ASK, **headers) as response:
        assert response.status == 200, await response.text()
    return claude.requests[0].headers


async def test_without_a_version_claude_gets_the_first_one(shop):
    assert (await sent(shop))["anthropic-version"] == "2023-06-01"


async def test_version_betas_and_unknown_headers_of_claudes_are_passed_on(shop):
    headers = await sent(
        shop,
        **{
            "Anthropic-Version": "2027-01-01",
            "anthropic-beta": "files-api-2025-04-14,context-1m",
            "anthropic-of-tomorrow": "yes",
        },
    )
    assert headers["anthropic-version"] == "2027-01-01"
    assert headers["anthropic-beta"] == "files-api-2025-04-14,context-1m"
    assert headers["anthropic-of-tomorrow"] == "yes"


async def test_nothing_else_of_the_client_reaches_claude(shop):
    headers = await sent(
        shop,
        **{
            "cookie": "session=secret",
            "proxy-authorization": "Basic c2VjcmV0",
            "te": "trailers",
            "keep-alive": "timeout=5",
            "x-forwarded-for": "192.0.2.1",
            "forwarded": "for=192.0.2.1",
            "user-agent": "curl/8",
            "accept-encoding": "gzip, br",
            "origin": "https://app.example",
            "referer": "https://app.example/secret",
            "x-stainless-lang": "js",
            "anthropic-dangerous-direct-browser-access": "true",
            "x-request-id": "mine",
        },
    )
    assert set(headers) == {
        "host",
        "user-agent",
        "accept-encoding",
        "x-api-key",
        "anthropic-version",
        "content-type",
        "content-length",
    }
    assert headers["x-api-key"] == "sk-ant-secret-of-the-operator"
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"].startswith("tokenweir/")
    assert headers["host"].startswith("127.0.0.1:")


@pytest.mark.parametrize("scheme", ["x-api-key", "bearer", "both"])
async def test_a_key_works_as_x_api_key_and_as_bearer_and_stays_here(shop, scheme):
    async with scripted_upstream() as claude, shop(claude) as caller:
        headers = {"x-api-key": caller.key} if scheme != "bearer" else {}
        headers |= {"authorization": f"Bearer {caller.key}"} if scheme != "x-api-key" else {}
        async with caller.session.post(caller.gateway.url + PATH, json=ASK, headers=headers) as response:
            assert response.status == 200
            assert await response.read() == HELLO
    assert caller.key not in str(claude.requests[0])
    assert "authorization" not in claude.requests[0].headers


@pytest.mark.parametrize("stream", [True, False])
async def test_only_the_listed_headers_of_claude_come_back(shop, stream):
    body = HELLO if stream else b"{}"
    kind = () if stream else (b"content-type: application/json",)
    async with (
        scripted_upstream(answer(200, body, *HEADERS_OF_CLAUDE, *kind)) as claude,
        shop(claude) as caller,
        caller.post(PATH, {**ASK, "stream": stream}) as response,
    ):
        await response.read()
    named = {name.lower(): value for name, value in response.headers.items()}
    ours = {"date", "server", "vary", "x-request-id", "content-type", "cache-control"}
    ours |= {"transfer-encoding", "x-accel-buffering"} if stream else {"content-length", "x-tokenweir-cost-usd"}
    assert set(named) - ours == {
        "request-id",
        "x-should-retry",
        "retry-after",
        "retry-after-ms",
        "anthropic-version",
        "anthropic-of-tomorrow",
    }
    assert named["request-id"] == "req_claude"
    assert named["server"] == "tokenweir"
    assert named["x-request-id"] != "of-the-upstream"
    assert "secret" not in str(response.headers)


async def test_both_ids_are_told_and_logged_beside_that_of_the_client(shop, tmp_path):
    async with scripted_upstream() as claude, shop(claude) as caller:
        async with caller.post(PATH, ASK, **{"x-request-id": "of-the-client.1"}) as response:
            await response.read()
        assert await caller.gateway.services.streams.wait_empty(10)
    ours = response.headers["X-Request-Id"]
    assert re.fullmatch(r"req_gw[0-9a-f]{24}", ours)
    assert response.headers["request-id"] == "req_claude"
    (line,) = requests_logged(tmp_path)
    assert line["request_id"] == ours
    assert line["upstream_request_id"] == "req_claude"
    assert line["client_request_id"] == "of-the-client.1"


async def test_an_id_that_no_log_should_hold_is_not_logged(shop, tmp_path):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        caller.post(PATH, ASK, **{"x-request-id": "a b=c " + "x" * 200}) as response,
    ):
        await response.read()
    (line,) = requests_logged(tmp_path)
    assert "client_request_id" not in line


async def test_an_error_of_ours_carries_our_id_in_both_headers_and_in_the_body(shop):
    async with scripted_upstream() as claude, shop(claude) as caller, caller.post(PATH, {}) as response:
        body = await response.json()
    assert response.status == 400
    assert response.headers["request-id"] == response.headers["X-Request-Id"] == body["request_id"]


async def test_a_trace_goes_on_with_a_parent_of_our_own(shop, tmp_path):
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = await sent(shop, traceparent=f"00-{trace}-{parent}-01", tracestate="vendor=a,other=b")
    version, trace_id, parent_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", trace, "01")
    assert re.fullmatch(r"[0-9a-f]{16}", parent_id)
    assert parent_id != parent
    assert headers["tracestate"] == "vendor=a,other=b"
    (line,) = requests_logged(tmp_path)
    assert line["trace_id"] == trace


async def test_without_a_trace_none_is_begun(shop):
    headers = await sent(shop)
    assert "traceparent" not in headers
    assert "tracestate" not in headers


async def test_a_broken_trace_is_replaced(shop):
    headers = await sent(shop, traceparent="00-00000000000000000000000000000000-00f067aa0ba902b7-01", tracestate="a=b")
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", headers["traceparent"])
    assert "0" * 32 not in headers["traceparent"]
    assert "tracestate" not in headers


async def test_browsers_with_a_key_read_claudes_answers_too(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude, server={"cors_origins": ["https://app.example"]}) as caller,
        caller.post(PATH, ASK, Origin="https://app.example") as response,
    ):
        await response.read()
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "request-id" in response.headers["Access-Control-Expose-Headers"]


def requests_logged(directory) -> list[dict]:
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "request"]
