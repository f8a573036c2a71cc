"""What every request meets first and last: methods, paths, the id, the one outcome, and faults that nobody foresaw."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import ClientConnectionResetError, web

from tests.support.gateway import configuration, serving
from tests.support.observed import observed
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import answer, scripted_upstream

NOWHERE = "http://127.0.0.1:1"
ROUTES = (
    "/api/chat/stream",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/models",
    "/v1/models/claude-x",
    "/health",
)


@pytest.fixture
def gateway(tmp_path):
    return lambda url=NOWHERE, **sections: observed(configuration(tmp_path, url, **sections))


async def _raw(caller, method: str, target: str, *headers: str):
    async with connected(caller.gateway.url, request_bytes(method, target, *headers)) as raw:
        return await raw.answer()


@pytest.mark.parametrize("path", ROUTES[:5])
async def test_head_is_no_method_of_the_routes_that_cost_something(gateway, path):
    async with (
        gateway() as (caller, outcomes),
        caller.session.head(caller.gateway.url + path, headers=caller.headers) as response,
    ):
        assert response.status == 405
        assert "HEAD" not in response.headers["Allow"]
        assert await response.read() == b""
        assert (await outcomes.only()).error_code == "method_not_allowed"


@pytest.mark.parametrize("path", ["/", "/health"])
async def test_head_is_answered_where_clients_probe(gateway, path):
    async with gateway() as (caller, outcomes), caller.session.head(caller.gateway.url + path) as response:
        assert response.status == 200
        assert response.headers["X-Request-Id"]
        assert await response.read() == b""
        assert (await outcomes.only()).kind == "done"


@pytest.mark.parametrize("path", ROUTES)
async def test_options_that_is_no_preflight_is_a_405_that_names_the_methods(gateway, path):
    async with (
        gateway() as (caller, _),
        caller.session.options(caller.gateway.url + path, headers={"Origin": "https://app.example"}) as response,
    ):
        assert response.status == 405
        assert response.headers["Allow"]
        assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "target",
    [
        "//v1/messages",
        "/v1/messages/",
        "/v1//messages",
        "/v1/messages/..",
        "/v1/./messages",
        "/v1%2Fmessages",
        "/V1/messages",
        "/v1/messages%00",
        "/v1/messages;x=1",
        "/v1/files",
        "/v1/organizations/usage",
        "/api/chat/stream/",
        "/api/../v1/messages",
        "/%2e%2e/v1/messages",
        "/metrics",
        "/.env",
    ],
)
async def test_what_is_only_like_a_route_is_a_404_and_never_reaches_claude(gateway, target):
    async with scripted_upstream() as claude, gateway(claude.url) as (caller, outcomes):
        status, headers, body = await _raw(caller, "POST", target, f"x-api-key: {caller.key}")
        assert status == 404
        assert headers["Content-Type"] == "application/json"
        outcome = await outcomes.only()
    assert "POST /v1/messages" in body.decode()
    assert (outcome.route, outcome.kind, outcome.error_code) == ("other", "refused", "not_found")
    assert not claude.requests


@pytest.mark.parametrize(
    "identifier",
    [
        "..",
        "%2e%2e",
        ".%2e",
        "..%2ffiles",
        "%2e%2e%2ffiles",
        "a%2f..%2f..%2ffiles",
        "a%5c..",
        "a%3fb",
        "a%23b",
        "",
        "a%00",
    ],
)
async def test_a_models_id_leads_nowhere_else_in_the_operators_account(gateway, identifier):
    async with scripted_upstream(answer(200, b"{}")) as claude, gateway(claude.url) as (caller, _):
        status, _, _ = await _raw(caller, "GET", f"/v1/models/{identifier}", f"x-api-key: {caller.key}")
    assert status == 404
    assert not claude.requests


@pytest.mark.parametrize(
    "target", ["/v1/messages", "/v1/%6Dessages", "/v1/messages?beta=true", "http://gateway.test/v1/messages"]
)
async def test_a_route_is_the_same_route_however_it_is_written(gateway, target):
    """Were it another one to some part of the gateway, its tokens would slip past the books."""
    message = b'{"type":"message","model":"claude-x","content":[],"usage":{"input_tokens":7,"output_tokens":2}}'
    body = json.dumps({"model": "claude-x", "max_tokens": 9, "messages": []}).encode()
    async with scripted_upstream(answer(200, message)) as claude, gateway(claude.url) as (caller, outcomes):
        async with connected(
            caller.gateway.url, request_bytes("POST", target, f"x-api-key: {caller.key}", body=body)
        ) as raw:
            status, _, _ = await raw.answer()
        outcome = await outcomes.only()
    assert status == 200
    assert claude.requests[0].line.partition("?")[0].removesuffix(" HTTP/1.1") == "POST /v1/messages"
    assert outcome.route == "/v1/messages"
    assert outcome.usage is not None
    assert outcome.usage.input_tokens == 7


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/v1/nothing", "claude"), ("/v1", "claude"), ("/v1beta", "chat"), ("/nothing", "chat"), ("/health/x", "chat")],
)
async def test_errors_are_told_in_the_words_of_the_routes_clients(gateway, path, shape):
    async with gateway() as (caller, _), caller.get(path) as response:
        told = await response.json()
        request_id = response.headers["X-Request-Id"]
    assert response.status == 404
    if shape == "claude":
        assert told["type"] == "error"
        assert told["error"]["type"] == "not_found_error"
        assert told["request_id"] == request_id
    else:
        assert told["code"] == "not_found"
        assert told["requestId"] == request_id


@pytest.mark.parametrize("path", ["/health", "/nothing", "/api/chat/stream", "/v1/messages"])
async def test_every_answer_carries_the_id_and_varies_by_origin(gateway, path):
    async with gateway() as (caller, outcomes), caller.get(path) as response:
        assert response.headers["Vary"] == "Origin"
        assert response.headers["Server"] == "tokenweir"
        assert response.headers["X-Request-Id"] == (await outcomes.only()).request_id


async def test_two_requests_of_one_connection_have_two_ids_and_two_outcomes(gateway):
    async with gateway() as (caller, outcomes), connected(caller.gateway.url) as raw:
        ids = []
        for _ in range(2):
            await raw.send(request_bytes("GET", "/health"))
            ids.append((await raw.answer())[1]["X-Request-Id"])
        assert [outcome.request_id for outcome in await outcomes.reach(2)] == ids
    assert len(set(ids)) == 2


async def test_an_unforeseen_fault_is_a_500_without_details_and_in_the_operators_log(tmp_path):
    """The log has the places in the code; the client has the id that finds them."""
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url)) as caller:
        caller.gateway.services.upstreams._candidates.clear()  # the soonest of none is asked for
        for path, body in (
            ("/api/chat/stream", {"message": "a secret prompt"}),
            ("/v1/messages", {"model": "claude-x", "max_tokens": 1, "messages": []}),
        ):
            async with caller.post(path, body) as response:
                assert response.status == 500
                text = await response.text()
                assert "iterable" not in text
                assert "ValueError" not in text
                assert response.headers["X-Request-Id"] in text
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    faults = [line for line in lines if line["event"] == "request failed"]
    assert [fault["error_type"] for fault in faults] == ["ValueError"] * 2
    assert "attempts" in faults[0]["exception"]
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["status"], line["kind"], line["error"], line["level"]) for line in requests] == [
        (500, "error", "internal_error", "error")
    ] * 2
    assert faults[0]["request_id"] == requests[0]["request_id"]
    assert "secret prompt" not in (tmp_path / "log.jsonl").read_text()


async def test_while_draining_every_answer_ends_its_connection(gateway):
    async with gateway() as (caller, _), connected(caller.gateway.url) as raw:
        await raw.send(request_bytes("GET", "/health"))
        assert "Connection" not in (await raw.answer())[1]
        caller.gateway.services.streams.draining = True
        await raw.send(request_bytes("GET", "/health"))
        assert (await raw.answer())[1]["Connection"] == "close"
        assert await raw.rest() == b""


async def test_a_fault_after_the_client_has_its_status_is_a_reset(gateway):
    """No second answer inside the first one, and no end in order: HTTP/1.0 has nothing else to tell them apart."""
    broken = asyncio.Event()

    async def script(peer):
        await broken.wait()
        await answer(529, b"{}", b"retry-after: 0")(peer)

    async with (
        scripted_upstream(script) as claude,
        gateway(claude.url, server={"commit_after": 0}) as (caller, outcomes),
    ):
        head = f"GET /api/chat/stream?message=hi HTTP/1.0\r\nx-api-key: {caller.key}\r\n\r\n"
        async with connected(caller.gateway.url, head.encode()) as raw:
            await raw.until(b"\r\n\r\n:\n\n")
            caller.gateway.services.upstreams._candidates.clear()  # the soonest of none is asked for
            broken.set()
            with pytest.raises(ConnectionResetError):
                await raw.rest()
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.status, outcome.error_code) == ("error", 200, "internal_error")


async def test_of_a_client_that_is_gone_the_log_has_its_request_and_nothing_else(gateway, tmp_path, monkeypatch):
    """It leaves while its last frame is written, which is no fault of anybody's."""

    async def gone(self, data=b""):
        raise ClientConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(web.StreamResponse, "write_eof", gone)
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url)) as caller:
        request = request_bytes("POST", "/api/chat/stream", f"x-api-key: {caller.key}", body=b'{"message":"hi"}')
        async with connected(caller.gateway.url, request) as raw:
            with pytest.raises(ConnectionResetError):
                await raw.rest()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["event"], line["level"], line["kind"]) for line in lines] == [("request", "info", "disconnected")]


async def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(gateway):
    """As curl does for bodies of more than a megabyte."""
    body = b'{"message":"hi"}'
    async with scripted_upstream() as claude, gateway(claude.url) as (caller, _):
        sent = request_bytes("POST", "/api/chat/stream", f"x-api-key: {caller.key}", "Expect: 100-continue", body=body)
        async with connected(caller.gateway.url, sent[: -len(body)]) as raw:
            assert await raw.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await raw.send(body)
            assert b'"type":"done"' in await raw.until(b'"type":"done"')
