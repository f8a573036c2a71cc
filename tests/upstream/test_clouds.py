"""Bedrock and Vertex AI asked over real sockets: what is sent, signed and named, and what comes back."""

from __future__ import annotations

import json

import pytest

from gateway.core.call import Call
from gateway.core.errors import Draining, InvalidRequest
from gateway.upstream.clouds import CloudUpstream
from gateway.upstream.settings import TransportSettings, UpstreamSettings
from tests.support.clouds import (
    ALIAS,
    BEDROCK_MODEL,
    GOOGLE_TOKEN,
    PROJECT,
    REGION,
    VERTEX_MODEL,
    aws_stream,
    bedrock,
    check_signature,
    chunks,
    vertex,
)
from tests.support.scripted_upstream import HELLO, answer, scripted_upstream, stream
from tests.support.upstreams import Kept, until, within

BODY = {"model": ALIAS, "max_tokens": 10, "stream": True, "messages": [{"role": "user", "content": "Grüß dich"}]}
MESSAGE = b'{"type":"message","model":"claude-sonnet-5-5","content":[],"new_field":1.0}'


def call(**fields: object) -> Call:
    body = {**BODY, **fields}
    headers = {"anthropic-version": "2023-06-01"}
    return Call("POST", "/v1/messages?beta=true", json.dumps(body).encode(), headers, str(body["model"]), bool(body["stream"]), 10)  # fmt: skip


@pytest.fixture
def opened(spawned):
    def opened(settings: dict[str, object], **transport: object) -> CloudUpstream:
        return CloudUpstream(UpstreamSettings.model_validate(settings), TransportSettings(**transport), spawned)

    return opened


async def ask(upstream: CloudUpstream, call: Call, **headers: str):
    """Return the exchange and what its body brought."""
    connection = await upstream.pool.acquire()
    exchange = upstream.send(connection, call, {**call.headers, **headers})
    await within(exchange.head)
    kept = Kept()
    exchange.attach(kept)
    await kept.wait()
    return exchange, kept


async def test_bedrock_is_asked_with_a_signature_for_the_model_in_the_path(opened):
    async with scripted_upstream(aws_stream(chunks(HELLO))) as aws:
        exchange, kept = await ask(opened(bedrock(aws.url)), call())
    (request,) = aws.requests
    check_signature(request)
    assert request.line == f"POST /model/{BEDROCK_MODEL}/invoke-with-response-stream HTTP/1.1"
    body = json.loads(request.body)
    assert body.pop("anthropic_version")
    assert body == {"max_tokens": 10, "messages": BODY["messages"]}
    assert exchange.status == 200
    assert exchange.headers == {"content-type": "text/event-stream", "request-id": "aws-request-1"}
    assert kept.ended
    assert kept.body == HELLO


async def test_vertex_is_asked_with_a_token_and_its_events_are_passed_on_as_they_are(opened):
    async with scripted_upstream(stream(HELLO, 7)) as google:
        exchange, kept = await ask(opened(vertex(google.url)), call(), **{"anthropic-beta": "one-1,two-2"})
    (request,) = google.requests
    place = f"projects/{PROJECT}/locations/{REGION}/publishers/anthropic/models"
    assert request.line == f"POST /v1/{place}/{VERTEX_MODEL}:streamRawPredict HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {GOOGLE_TOKEN}"
    assert request.headers["anthropic-beta"] == "one-1,two-2"
    body = json.loads(request.body)
    assert body.pop("anthropic_version")
    assert body == {"max_tokens": 10, "stream": True, "messages": BODY["messages"]}
    assert exchange.status == 200
    assert exchange.headers == {"content-type": "text/event-stream", "request-id": "req_claude"}
    assert kept.body == HELLO


@pytest.mark.parametrize(("cloud", "line"), [(bedrock, f"POST /model/{BEDROCK_MODEL}/invoke HTTP/1.1"), (vertex, f"POST /v1/projects/{PROJECT}/locations/{REGION}/publishers/anthropic/models/{VERTEX_MODEL}:rawPredict HTTP/1.1")])  # fmt: skip
async def test_a_whole_message_comes_byte_for_byte(opened, cloud, line):
    async with scripted_upstream(answer(200, MESSAGE)) as fake:
        exchange, kept = await ask(opened(cloud(fake.url)), call(stream=False))
    assert fake.requests[0].line == line
    assert exchange.headers["content-type"] == "application/json"
    assert kept.body == MESSAGE
    assert exchange.complete


async def test_a_name_that_is_not_mapped_is_sent_as_it_is(opened):
    arn = "arn:aws:bedrock:eu-west-7:123456789012:application-inference-profile/abc"
    async with scripted_upstream(answer(200, MESSAGE)) as aws:
        upstream = opened(bedrock(aws.url, models={"ours": arn}))
        await ask(upstream, call(model="anthropic.claude-x-v1:0", stream=False))
        await ask(upstream, call(model="ours", stream=False))
    for request in aws.requests:
        check_signature(request)
    assert [request.line.split()[1] for request in aws.requests] == [
        "/model/anthropic.claude-x-v1:0/invoke",
        f"/model/{arn.replace('/', '%2F')}/invoke",
    ]


@pytest.mark.parametrize("model", ["..", "a/../b", "a b", "a?b", "a#b", "a//b", "/a", ".", "a;b", "a%2e", "ä", "\n"])
@pytest.mark.parametrize("cloud", [bedrock, vertex])
async def test_a_name_that_could_be_another_path_is_refused(opened, cloud, model):
    async with scripted_upstream(answer(200, MESSAGE)) as fake:
        with pytest.raises(InvalidRequest, match="model: "):
            await ask(opened(cloud(fake.url)), call(model=model))
    assert not fake.requests


@pytest.mark.parametrize("field", ["anthropic_beta", "anthropic_version", "user_profile_id"])
async def test_what_only_a_cloud_takes_in_the_body_is_refused_as_claudes_api_does(opened, field):
    """Plans restrict betas by the header; in the body nobody would have looked."""
    async with scripted_upstream(answer(200, MESSAGE)) as aws:
        with pytest.raises(InvalidRequest, match=f"{field}: Extra inputs"):
            await ask(opened(bedrock(aws.url)), call(**{field: ["computer-use-1"]}))
    assert not aws.requests


async def test_betas_go_into_the_body_of_bedrock_one_by_one(opened):
    async with scripted_upstream(answer(200, MESSAGE)) as aws:
        await ask(opened(bedrock(aws.url)), call(stream=False), **{"anthropic-beta": " one-1 , two-2,"})
    check_signature(aws.requests[0])
    assert json.loads(aws.requests[0].body)["anthropic_beta"] == ["one-1", "two-2"]


async def test_of_the_headers_only_betas_and_the_trace_go_to_a_cloud(opened):
    sent = {"anthropic-secret": "x", "x-api-key": "y", "traceparent": "00-1-2-03", "tracestate": "a=b"}
    async with scripted_upstream(answer(200, MESSAGE)) as google:
        await ask(opened(vertex(google.url)), call(stream=False), **sent)
    headers = google.requests[0].headers
    assert (headers["traceparent"], headers["tracestate"]) == ("00-1-2-03", "a=b")
    assert not {"anthropic-secret", "x-api-key", "anthropic-version"} & headers.keys()
    assert headers["user-agent"].startswith("tokenweir/")
    assert headers["accept-encoding"] == "identity"


async def test_a_body_of_megabytes_arrives_whole(opened):
    text = "ß" * 2_000_000
    async with scripted_upstream(answer(200, MESSAGE)) as aws:
        await ask(opened(bedrock(aws.url)), call(stream=False, messages=[{"role": "user", "content": text}]))
    check_signature(aws.requests[0])
    assert json.loads(aws.requests[0].body)["messages"][0]["content"] == text


async def test_half_of_a_character_is_the_clients_fault(opened):
    async with scripted_upstream(answer(200, MESSAGE)) as aws:
        with pytest.raises(InvalidRequest, match="half of a character"):
            await ask(opened(bedrock(aws.url)), call(system="\ud83d"))
    assert not aws.requests


@pytest.mark.parametrize(("method", "target"), [("POST", "/v1/messages/count_tokens?beta=true"), ("GET", "/v1/models"), ("GET", "/v1/models/claude-x")])  # fmt: skip
@pytest.mark.parametrize(("cloud", "title"), [(bedrock, "Amazon Bedrock"), (vertex, "Vertex AI")])
async def test_what_clouds_do_not_have_is_not_found_without_a_question_asked(opened, cloud, title, method, target):
    async with scripted_upstream() as fake:
        exchange, kept = await ask(opened(cloud(fake.url)), Call(method, target, b"{}", {}))
        exchange.pause()
        exchange.resume()
        exchange.abort()
    assert exchange.status == 404
    message = f"{target.partition('?')[0]} is not offered by {title}."
    assert json.loads(kept.body) == {"type": "error", "error": {"type": "not_found_error", "message": message}}
    assert fake.connections == 0


async def test_connections_are_used_again_and_closed_at_the_end(opened, spawned):
    async with scripted_upstream(aws_stream(chunks(HELLO))) as aws:
        upstream = opened(bedrock(aws.url))
        for _ in range(3):
            await ask(upstream, call())
        assert aws.connections == 1
        await until(lambda: not upstream.pool.busy)
        upstream.pool.close()
        with pytest.raises(Draining):
            await upstream.pool.acquire()
        await spawned.close()
        await within(aws.all_closed.wait())


async def test_what_a_load_balancer_sets_for_one_answer_is_not_sent_with_the_next_request(opened):
    cookie = answer(200, MESSAGE, b"content-type: application/json", b"set-cookie: tenant=a; path=/")
    async with scripted_upstream(cookie) as google:
        upstream = opened(vertex(google.url))
        await ask(upstream, call(stream=False))
        await ask(upstream, call(stream=False))
    assert "cookie" not in google.requests[1].headers


async def test_a_redirect_is_not_followed(opened):
    async with scripted_upstream(answer(307, b"", b"location: http://127.0.0.1:9/")) as google:
        exchange, _ = await ask(opened(vertex(google.url)), call())
    assert exchange.status == 307
