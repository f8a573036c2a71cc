"""Errors of ``/api/chat/stream`` before a stream starts: true statuses, JSON, row by row of the contract's table."""

from __future__ import annotations

import json

import pytest

from tests.support.gateway import configuration, serving
from tests.support.raw_client import connected
from tests.support.scripted_upstream import answer, scripted_upstream

PATH = "/api/chat/stream"
NO_RETRIES = {"retries": 0}


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


def claude_error(kind: str, message: str = "Claude says no") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_x"}).encode()


async def ask(caller, body=None, **headers):
    """Return status, headers and JSON of an answer; all errors have the same frame."""
    async with caller.post(PATH, body or {"message": "Hi"}, **headers) as response:
        told = await response.json()
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Vary"] == "Origin"
    assert response.headers["X-Request-Id"] == told["requestId"]
    assert response.headers["Cache-Control"] == "no-store"
    assert isinstance(told["error"], str)
    assert isinstance(told["code"], str)
    return response.status, response.headers, told


async def test_bad_input_is_a_400(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        status, _, told = await ask(caller, {"message": "Hi", "temperature": 3})
    assert status == 400
    assert told["code"] == "invalid_request"


async def test_no_credentials_are_a_401_with_a_challenge(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        status, headers, told = await ask(caller, Authorization="")
    assert status == 401
    assert headers["WWW-Authenticate"] == "Bearer"
    assert told["code"] == "unauthenticated"
    assert not claude.requests


async def test_a_wrong_key_is_a_401_that_does_not_say_why(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        answers = []
        for key in ("tw_nonsense", caller.key[:-1] + ("a" if caller.key[-1] != "a" else "b"), "sk-ant-api03-x"):
            status, headers, told = await ask(caller, authorization=f"Bearer {key}")
            assert headers["WWW-Authenticate"] == "Bearer"
            answers.append((status, told["error"]))
    assert len(set(answers)) == 1
    assert answers[0][0] == 401


async def test_a_suspended_tenant_is_a_403(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        caller.gateway.store.suspend("acme")
        await caller.gateway.services.directory.synchronise()
        status, _, told = await ask(caller)
    assert status == 403
    assert told["code"] == "tenant_suspended"


async def test_two_different_keys_are_a_400_and_twice_the_same_is_one(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        status, _, told = await ask(caller, **{"x-api-key": "tw_other"})
        assert status == 400
        assert told["code"] == "invalid_request"
        async with caller.post(PATH, {"message": "Hi"}, **{"x-api-key": caller.key}) as response:
            assert response.status == 200


async def test_the_key_may_come_as_x_api_key_and_other_schemes_are_passed_over(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        headers = {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": caller.key}
        async with caller.post(PATH, {"message": "Hi"}, **headers) as response:
            assert response.status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_a_413_that_names_it(shop, chunked):
    async def pieces():
        for _ in range(5):
            yield b"x" * 1000

    async with scripted_upstream() as claude, shop(claude, server={"max_body": 4000}) as caller:
        data = pieces() if chunked else b"x" * 5000
        async with caller.session.post(caller.gateway.url + PATH, data=data, headers=caller.headers) as response:
            told = await response.json()
    assert response.status == 413
    assert "4000" in told["error"]
    assert told["code"] == "request_too_large"


async def test_a_reached_limit_is_a_429_that_says_which_and_when(shop):
    plans = {"default": {"requests_per_minute": 1}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as caller:
        async with caller.post(PATH, {"message": "Hi"}) as response:
            assert response.headers["RateLimit-Policy"] == '"tenant-requests-per-minute";q=1;w=60'
        status, headers, told = await ask(caller)
    assert status == 429
    assert told["error"] == "Too many requests"
    assert told["code"] == "rate_limited"
    assert told["limit"] == "tenant-requests-per-minute"
    assert isinstance(told["retryAfter"], int)
    assert 1 <= told["retryAfter"] <= 60
    assert headers["Retry-After"] == str(told["retryAfter"])
    assert headers["RateLimit"].startswith('"tenant-requests-per-minute";r=0;t=')


async def test_a_full_house_is_a_429_and_a_slot_is_free_when_its_stream_ends(shop):
    plans = {"default": {"concurrent_streams": 1}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as caller:
        for _ in range(3):
            async with caller.post(PATH, {"message": "Hi"}) as response:
                assert response.status == 200
                await response.read()


async def test_too_many_failed_authentications_are_a_429_in_the_same_form(shop):
    async with scripted_upstream() as claude, shop(claude, keys={"failures_per_minute": 1}) as caller:
        await ask(caller, authorization="Bearer tw_wrong")
        status, headers, told = await ask(caller, authorization="Bearer tw_wrong")
    assert status == 429
    assert told["error"] == "Too many requests"
    assert told["limit"] == "failed-authentications"
    assert headers["Retry-After"] == str(told["retryAfter"])


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", "invalid_request"),
        (404, "not_found_error", "upstream_not_found_error"),
        (413, "request_too_large", "upstream_request_too_large"),
    ],
)
async def test_claudes_refusals_of_a_request_keep_their_status_and_sentence(shop, status, kind, code):
    async with scripted_upstream(answer(status, claude_error(kind))) as claude, shop(claude) as caller:
        got, _, told = await ask(caller)
    assert got == status
    assert told["error"] == "Claude says no"
    assert told["code"] == code
    assert len(claude.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [((), 5), ((b"retry-after: 7",), 7), ((b"retry-after-ms: 1500",), 2), ((b"retry-after: 0",), 1)],
)
async def test_a_429_of_claudes_says_when_to_come_back(shop, headers, seconds):
    script = answer(429, claude_error("rate_limit_error"), b"content-type: application/json", *headers)
    async with scripted_upstream(script) as claude, shop(claude, upstream=NO_RETRIES) as caller:
        status, sent, told = await ask(caller)
    assert status == 429
    assert told["error"] == "Too many requests"
    assert told["limit"] == "upstream"
    assert told["retryAfter"] == seconds
    assert sent["Retry-After"] == str(seconds)


@pytest.mark.parametrize(("status", "kind"), [(500, "api_error"), (504, "timeout_error"), (529, "overloaded_error")])
async def test_claudes_own_failures_keep_their_status_with_a_safe_sentence(shop, status, kind):
    script = answer(status, claude_error(kind, "secret of the upstream"))
    async with scripted_upstream(script) as claude, shop(claude, upstream=NO_RETRIES) as caller:
        got, _, told = await ask(caller)
    assert got == status
    assert told["error"] == "Failed to stream response"
    assert told["message"].startswith("Claude ")
    assert "secret" not in json.dumps(told)
    assert told["code"] == f"upstream_{kind}"


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b'{"detail": "x"}', b'"x"'])
@pytest.mark.parametrize("stream", [True, False])
async def test_what_a_proxy_says_in_claudes_place_is_not_shown(shop, body, stream):
    script = answer(502, body, b"content-type: text/html")
    async with scripted_upstream(script) as claude, shop(claude, upstream=NO_RETRIES) as caller:
        status, _, told = await ask(caller, {"message": "Hi", "stream": stream})
    assert status == 502
    assert told["error"] == "Failed to stream response"
    assert "html" not in json.dumps(told)


@pytest.mark.parametrize("status", [401, 402, 403])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_of_the_gateways_own_key_is_a_502_without_a_detail(shop, status, stream):
    script = answer(status, claude_error("authentication_error", "invalid x-api-key sk-ant-secret"))
    async with scripted_upstream(script) as claude, shop(claude) as caller:
        got, _, told = await ask(caller, {"message": "Hi", "stream": stream})
    assert got == 502
    assert told["code"] == "upstream_credential"
    assert "key" not in told["message"]
    assert len(claude.requests) == 1


async def test_an_unreachable_claude_is_a_502(tmp_path):
    config = configuration(tmp_path, "http://127.0.0.1:1", upstream=NO_RETRIES)
    async with serving(config) as caller:
        status, _, told = await ask(caller)
    assert status == 502
    assert told["code"] == "upstream_unreachable"
    assert "127.0.0.1" not in json.dumps(told)


async def test_a_gateway_at_its_limit_is_a_503_that_says_when_to_come_back(shop):
    async with scripted_upstream() as claude, shop(claude, server={"max_bodies": 10}) as caller:
        status, headers, told = await ask(caller)
    assert status == 503
    assert told["code"] == "overloaded"
    assert headers["Retry-After"] == "1"


async def test_another_method_is_a_405_that_names_the_right_ones(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        caller.session.put(caller.gateway.url + PATH, headers=caller.headers) as response,
    ):
        told = await response.json()
    assert response.status == 405
    assert response.headers["Allow"] == "GET, POST"
    assert told["code"] == "method_not_allowed"


async def test_another_path_is_a_404_that_names_the_routes(shop):
    async with scripted_upstream() as claude, shop(claude) as caller, caller.get("/api/chat") as response:
        told = await response.json()
    assert response.status == 404
    assert "/api/chat/stream" in told["error"]


async def test_what_is_no_http_is_a_400_that_repeats_nothing(shop, tmp_path):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        connected(caller.gateway.url, b"GET /secret HTTP/1.1\r\nbad header secret\r\n\r\n") as raw,
    ):
        status, headers, body = await raw.answer()
    assert status == 400
    assert headers["X-Request-Id"] == json.loads(body)["requestId"]
    assert b"secret" not in body
    assert b"secret" not in (tmp_path / "log.jsonl").read_bytes()


async def test_a_body_that_does_not_arrive_is_a_408(shop):
    async with scripted_upstream() as claude, shop(claude, server={"body_timeout": "50ms"}) as caller:
        head = f"POST {PATH} HTTP/1.1\r\nhost: gateway\r\nx-api-key: {caller.key}\r\ncontent-length: 9\r\n\r\n{{"
        async with connected(caller.gateway.url, head.encode()) as raw:
            status, _, body = await raw.answer()
    assert status == 408
    assert json.loads(body)["code"] == "request_timeout"


async def test_a_body_in_broken_chunks_is_a_400(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        head = f"POST {PATH} HTTP/1.1\r\nhost: gateway\r\nx-api-key: {caller.key}\r\ntransfer-encoding: chunked\r\n\r\n"
        async with connected(caller.gateway.url, head.encode() + b"5\r\nhello\r\nzz\r\n") as raw:
            status, _, _ = await raw.answer()
    assert status == 400
    assert not claude.requests


async def test_health_is_what_the_frontends_know(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        caller.session.get(caller.gateway.url + "/health") as response,
    ):
        told = await response.json()
    assert response.status == 200
    assert response.headers["Vary"] == "Origin"
    assert response.headers["X-Request-Id"]
    assert set(told) == {"status", "timestamp"}
    assert told["status"] == "ok"
    assert isinstance(told["timestamp"], int)
    assert told["timestamp"] > 1_700_000_000_000
