"""Every recorded error of Claude's, as the upstream's answer, on both dialects."""

from __future__ import annotations

import json

import pytest

from tests.support.gateway import configuration, serving
from tests.support.recordings import RECORDINGS, miss
from tests.support.scripted_upstream import scripted_upstream

FILE = RECORDINGS / "errors.jsonl"
# Of one hop: what the upstream's own framing says of a body that was recorded without it.
FRAMING = {"content-length", "transfer-encoding", "connection", "content-encoding"}
OUR_FAULT = {401, 402, 403}


def recorded_errors() -> list[dict]:
    if not FILE.exists():
        miss()
    return [json.loads(line) for line in FILE.read_text().splitlines()]


class Refusals:
    """A script: the request's model says which error is sent."""

    def __init__(self, errors: list[dict]) -> None:
        self._errors = errors

    async def __call__(self, peer) -> None:
        error = self._errors[int(json.loads(peer.request.body)["model"].removeprefix("error-"))]
        body = error["body"].encode()
        headers = [(name, value) for name, value in error["headers"] if name.lower() not in FRAMING]
        lines = [f"HTTP/1.1 {error['status']} Refused", *(f"{name}: {value}" for name, value in headers)]
        await peer.send("\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode(), body)


def in_shape(body: str) -> bool:
    decoded = json.loads(body)
    return decoded.get("type") == "error" and {"type", "message"} <= set(decoded.get("error", {}))


@pytest.mark.parametrize("streamed", [True, False])
async def test_recorded_errors_arrive_on_claudes_routes_as_they_came(tmp_path, streamed):
    errors = recorded_errors()
    async with (
        scripted_upstream(Refusals(errors)) as claude,
        serving(configuration(tmp_path, claude.url)) as caller,
    ):
        for index, error in enumerate(errors):
            ask = {"model": f"error-{index}", "max_tokens": 5, "messages": [], "stream": streamed}
            async with caller.post("/v1/messages", ask) as response:
                body = await response.read()
            sent = {name.lower(): value for name, value in error["headers"]}
            assert json.loads(body)["type"] == "error"
            if error["status"] in OUR_FAULT:
                assert response.status == 502
                assert json.loads(body)["error"]["type"] == "api_error"
                assert "api-key" not in body.decode()
                assert response.headers["request-id"] == response.headers["X-Request-Id"]
                continue
            assert response.status == error["status"]
            if in_shape(error["body"]):
                assert body == error["body"].encode()
            else:
                assert json.loads(body)["error"]["type"] == "not_found_error"
            for name in ("request-id", "x-should-retry", "retry-after"):
                if name in sent:
                    assert response.headers[name] == sent[name]
            for name in ("cf-ray", "server-timing", "traceresponse", "set-cookie", "anthropic-organization-id"):
                assert name not in response.headers
    assert len(claude.requests) == len(errors)


@pytest.mark.parametrize("streamed", [True, False])
async def test_recorded_errors_are_json_of_the_frontends_on_the_chat_route(tmp_path, streamed):
    errors = recorded_errors()
    async with (
        scripted_upstream(Refusals(errors)) as claude,
        serving(configuration(tmp_path, claude.url)) as caller,
    ):
        for index, error in enumerate(errors):
            ask = {"model": f"error-{index}", "message": "Hi", "stream": streamed}
            async with caller.post("/api/chat/stream", ask) as response:
                told = await response.json()
            assert told["requestId"] == response.headers["X-Request-Id"]
            if error["status"] in OUR_FAULT:
                assert response.status == 502
                assert told["error"] == "Failed to stream response"
                assert told["code"] == "upstream_credential"
                continue
            assert response.status == error["status"]
            if in_shape(error["body"]):
                assert told["error"] == json.loads(error["body"])["error"]["message"]
            else:
                assert told["error"]
            assert told["code"] == {400: "invalid_request", 404: "upstream_not_found_error"}[error["status"]]
