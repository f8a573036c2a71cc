"""The application around the routes: everything else, browsers, counts, and listening."""

from __future__ import annotations

import pytest

from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings


async def test_other_paths_are_not_found_in_claudes_shape(serve, http):
    simulator = await serve()
    async with http.get(f"{simulator.url}/v1/files") as answer:
        assert answer.status == 404
        error = await answer.json()
    assert error["error"] == {"type": "not_found_error", "message": "Not Found"}
    assert error["request_id"].startswith("req_")


async def test_other_methods_are_refused_with_those_allowed(serve, http):
    simulator = await serve()
    async with http.get(f"{simulator.url}/v1/messages") as answer:
        assert answer.status == 405
        assert answer.headers["allow"] == "POST"
        assert (await answer.json())["error"]["message"] == "Method Not Allowed"


async def test_a_probe_of_the_root_gets_claudes_empty_404(serve, http):
    simulator = await serve()
    async with http.head(simulator.url) as answer:
        assert answer.status == 404
        assert await answer.read() == b""


async def test_queries_do_not_change_the_route(serve, http, body):
    simulator = await serve()
    async with http.post(f"{simulator.url}/v1/messages?beta=true", json=body()) as answer:
        assert answer.status == 200


async def test_models_need_a_credential(serve, http):
    simulator = await serve()
    for path in ("/v1/models", "/v1/models/claude-sonnet-5"):
        async with http.get(simulator.url + path, headers={"x-api-key": ""}) as answer:
            assert answer.status == 401
        async with http.get(simulator.url + path) as answer:
            assert answer.status == 200


async def test_browsers_may_ask_when_their_sdk_says_that_it_is_meant(serve, http, body):
    simulator = await serve()
    url = f"{simulator.url}/v1/messages"
    wanted = {"origin": "https://shop.example", "access-control-request-headers": "x-api-key"}
    async with http.options(url, headers=wanted) as answer:
        assert answer.status == 204
        assert answer.headers["access-control-allow-headers"] == "x-api-key"
        assert answer.headers["access-control-allow-origin"] == "*"
    async with http.post(url, json=body(), headers={"origin": "https://shop.example"}) as answer:
        assert answer.status == 401
        assert b"CORS requests must set 'anthropic-dangerous-direct-browser-access' header" in await answer.read()
    meant = {"origin": "https://shop.example", "anthropic-dangerous-direct-browser-access": "true"}
    async with http.post(url, json=body(stream=True), headers=meant) as answer:
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_the_counts_say_what_happened(serve, http, body):
    simulator = await serve()
    for stream in (True, False):
        async with http.post(f"{simulator.url}/v1/messages", json=body(stream=stream, max_tokens=5)) as answer:
            await answer.read()
    async with http.post(f"{simulator.url}/v1/messages", json={}) as answer:
        await answer.read()
    async with http.get(f"{simulator.url}/_sim/stats") as answer:
        stats = await answer.json()
    assert stats["last_headers"].pop("x-api-key") == "***6789"
    assert set(stats.pop("last_headers").values()) == {""}
    assert stats == {
        "requests": 3,
        "messages": 2,
        "streams": 1,
        "active": 0,
        "finished": 2,
        "cancelled": 0,
        "refused": 1,
        "tokens": 5,
    }


async def test_a_taken_port_is_an_error_that_leaves_nothing_behind(serve):
    simulator = await serve()
    with pytest.raises(OSError, match="address already in use"):
        await serve_simulator(SimulatorSettings(), port=simulator.port)


async def test_its_url_is_one_for_ipv6_too(serve, http):
    async with await serve_simulator(SimulatorSettings(), "::1") as simulator:
        assert simulator.url == f"http://[::1]:{simulator.port}"
        async with http.get(f"{simulator.url}/_sim/stats") as answer:
            assert answer.status == 200
