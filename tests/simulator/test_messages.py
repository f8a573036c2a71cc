"""The two message routes: checks, directives, recordings, and what is remembered."""

from __future__ import annotations

import io

import orjson
import pytest

SMALL = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","content":[],"usage":{}}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"      }\n\n'
)


async def call(http, simulator, body, path="/v1/messages", **headers):
    async with http.post(simulator.url + path, json=body, headers=headers) as answer:
        return answer, await answer.read()


async def test_the_headers_of_a_stream_are_claudes(serve, http, body):
    answer, _ = await call(http, await serve(), body(stream=True))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["request-id"].startswith("req_011C")
    assert answer.headers["anthropic-ratelimit-requests-limit"] == "4000"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "anthropic-organization-id" in answer.headers


@pytest.mark.parametrize(
    ("key", "status", "kind", "message"),
    [
        ("", 401, "authentication_error", "x-api-key header is required"),
        ("sk-invalid", 401, "authentication_error", "invalid x-api-key"),
        ("sk-no-credit", 400, "invalid_request_error", "Your credit balance is too low"),
        ("sk-forbidden", 403, "permission_error", "Your API key does not have permission"),
    ],
)
async def test_keys_fail_in_the_way_that_they_say(serve, http, body, key, status, kind, message):
    answer, data = await call(http, await serve(), body(), **{"x-api-key": key})
    error = orjson.loads(data)
    assert answer.status == status
    assert list(error) == ["type", "error", "request_id"]
    assert error["error"]["type"] == kind
    assert error["error"]["message"].startswith(message)
    assert error["request_id"] == answer.headers["request-id"]
    assert answer.headers["x-should-retry"] == "false"


async def test_a_bearer_is_a_credential_too_and_another_scheme_is_none(serve, http, body):
    simulator = await serve()
    assert (await call(http, simulator, body(), **{"x-api-key": "", "authorization": "Bearer abc"}))[0].status == 200
    assert (await call(http, simulator, body(), **{"x-api-key": "", "authorization": "Basic abc"}))[0].status == 401


async def test_the_version_is_required(serve, http, body):
    answer, data = await call(http, await serve(), body(), **{"anthropic-version": ""})
    assert answer.status == 400
    assert b'"anthropic-version: header is required"' in data


async def test_a_body_that_is_no_json_is_refused_in_claudes_words(serve, http):
    simulator = await serve()
    async with http.post(f"{simulator.url}/v1/messages", data=b"{") as answer:
        assert answer.status == 400
        assert b"The request body is not valid JSON: " in await answer.read()


async def test_a_large_body_is_taken_and_a_larger_one_is_a_413(serve, http, body):
    simulator = await serve(max_body="2MiB")
    url = f"{simulator.url}/v1/messages"
    async with http.post(url, data=io.BytesIO(orjson.dumps(body("x" * 1_500_000)))) as answer:
        assert answer.status == 200
    async with http.post(url, data=io.BytesIO(orjson.dumps(body("x" * 3_000_000)))) as answer:
        assert answer.status == 413
        assert b'"request_too_large","message":"Request exceeds the maximum size"' in await answer.read()


async def test_the_header_wins_over_the_marker_and_both_over_the_default(serve, http, body):
    simulator = await serve(fault="status=500")
    assert (await call(http, simulator, body()))[0].status == 500
    assert (await call(http, simulator, body("Hi [[sim: status=503]]")))[0].status == 503
    marked = body("Hi [[sim: status=503]]")
    assert (await call(http, simulator, marked, **{"x-sim-fault": "status=529"}))[0].status == 529


async def test_a_bad_fault_is_a_400_that_says_what_is_allowed(serve, http, body):
    answer, data = await call(http, await serve(), body("Hi [[sim: explode=1]]"))
    assert answer.status == 400
    assert b"there is no directive 'explode'; allowed are" in data


async def test_a_proxys_error_page_can_be_asked_for(serve, http, body):
    fault = "status=502; content-type=text/html; slow-headers=0"
    answer, data = await call(http, await serve(), body(), **{"x-sim-fault": fault})
    assert (answer.status, answer.content_type) == (502, "text/html")
    assert b"<h1>502 Error</h1>" in data


async def test_a_refusal_by_rate_says_that_nothing_is_left(serve, http, body):
    answer, _ = await call(http, await serve(), body(), **{"x-sim-fault": "status=429; retry-after=3"})
    assert answer.headers["retry-after"] == "3"
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "0"


async def test_slow_headers_move_the_whole_answer(serve, http, body):
    answer, data = await call(http, await serve(), body(stream=True), **{"x-sim-fault": "slow-headers=10ms"})
    assert answer.status == 200
    assert data.endswith(b"\n\n")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_error_statuses_work_without_a_stream_too(serve, http, body, path):
    answer, _ = await call(http, await serve(), body(), path, **{"x-sim-fault": "status=529"})
    assert answer.status == 529


async def test_an_error_in_the_middle_of_a_whole_answer_is_a_status(serve, http, body):
    answer, data = await call(http, await serve(), body(), **{"x-sim-fault": "error-after=3; error=api_error"})
    assert answer.status == 500
    assert b'"api_error"' in data


async def test_speed_and_silence_are_set_by_request(serve, http, body):
    slow = await serve(tokens_per_second=0.001, time_to_first_token=3600)
    fault = "tokens-per-second=0; time-to-first-token=0; jitter=0; thinking-silence=22ms; ping-interval=5ms"
    _, data = await call(http, slow, body(stream=True), **{"x-sim-fault": fault})
    assert data.count(b"event: ping") == 5
    assert data.endswith(b"}\n\n")


@pytest.mark.parametrize("size", [1, 7, 1000, -1, 0])
async def test_a_recording_is_sent_byte_for_byte_at_any_chunking(serve, http, body, tmp_path, size):
    path = tmp_path / "a.sse"
    path.write_bytes(SMALL)
    simulator = await serve(replay=path, chunk_size=size)
    assert (await call(http, simulator, body(stream=True)))[1] == SMALL
    assert orjson.loads((await call(http, simulator, body()))[1])["id"] == "m"


async def test_an_empty_recording_is_an_empty_stream(serve, http, body, tmp_path):
    (tmp_path / "a.sse").write_bytes(b"")
    answer, data = await call(http, await serve(replay=tmp_path / "a.sse"), body(stream=True))
    assert (answer.status, data) == (200, b"")


async def test_requests_name_recordings_only_where_a_directory_was_given(serve, http, body, tmp_path):
    (tmp_path / "a.sse").write_bytes(SMALL)
    simulator = await serve(replay_dir=tmp_path)
    assert (await call(http, simulator, body(stream=True), **{"x-sim-replay": "a.sse"}))[1] == SMALL
    assert (await call(http, simulator, body("[[sim: replay=a.sse]]", stream=True)))[1] == SMALL
    assert (await call(http, simulator, body(), **{"x-sim-replay": "../a.sse"}))[0].status == 404
    answer, data = await call(http, await serve(), body(), **{"x-sim-replay": "a.sse"})
    assert answer.status == 400
    assert b"--replay-dir" in data


async def test_faults_happen_to_recordings_too(serve, http, body, tmp_path):
    (tmp_path / "a.sse").write_bytes(SMALL)
    simulator = await serve(replay=tmp_path / "a.sse", fault="error-after=0")
    assert (await call(http, simulator, body(stream=True)))[1].startswith(b"event: error")


async def test_equal_seeds_give_equal_bytes(serve, http, body):
    first = await call(http, await serve(seed=5), body("Zebras", stream=True))
    second = await call(http, await serve(seed=5), body("Zebras", stream=True))
    other = await call(http, await serve(seed=6), body("Zebras", stream=True))
    assert first[1] == second[1] != other[1]
    assert first[0].headers["request-id"] == second[0].headers["request-id"]


async def test_the_last_request_is_kept_only_when_asked_for(serve, http, body):
    simulator = await serve(record=True)
    await call(http, simulator, body("Remember me"))
    async with http.get(f"{simulator.url}/_sim/last") as answer:
        last = await answer.json()
    assert last["body"]["messages"][0]["content"] == "Remember me"
    assert last["headers"]["x-api-key"] == "***6789"
    silent = await serve()
    await call(http, silent, body("Forget me"))
    async with http.get(f"{silent.url}/_sim/last") as answer:
        assert answer.status == 404
        assert b"--record" in await answer.read()
