"""Claude's Python SDK behind a gateway when things go wrong: which exception, and who tries again."""

from __future__ import annotations

import asyncio
import json

import anthropic
import pytest

from tests.support.clients import MODEL, asking, behind_gateway, sdk
from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import BLOCK, HELLO, SSE_HEAD, START, answer, scripted_upstream, stream, text_delta

ONCE = {"upstream": {"retries": 0}}
FEW = {"plans": {"default": {"requests_per_minute": 1}}}
ALONE = {"plans": {"default": {"concurrent_streams": 1}}}
SMALL = {"plans": {"default": {"models": ["claude-haiku-*"], "max_output_tokens": 100, "betas": ["known-*"]}}}


@pytest.fixture
def behind(tmp_path):
    return lambda pace=None, **sections: behind_gateway(tmp_path, pace, **sections)


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


class Impatient(anthropic.AsyncAnthropic):
    """Notes how long the SDK would wait before it tries again, and does not wait."""

    def _calculate_retry_timeout(self, *args, **kwargs):
        waits = self.__dict__.setdefault("waits", [])
        waits.append(super()._calculate_retry_timeout(*args, **kwargs))
        return 0.0


def refusal(status, kind, *headers):
    body = {"type": "error", "error": {"type": kind, "message": f"{kind}!"}, "request_id": "req_claude"}
    return answer(status, json.dumps(body).encode(), b"content-type: application/json", *headers)


async def test_a_wrong_key_is_an_authentication_error(behind):
    async with behind() as here, sdk(here.caller, api_key="sk-ant-not-ours", max_retries=2) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.messages.create(**asking("Hello"))
        assert here.simulator.stats.requests == 0
    assert caught.value.type == "authentication_error"
    assert caught.value.request_id.startswith("req_gw")
    assert caught.value.body["request_id"] == caught.value.request_id
    assert caught.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"model": "claude-opus-5"}, anthropic.PermissionDeniedError, "does not include the model"),
        ({"max_tokens": 101}, anthropic.BadRequestError, "max_output_tokens of 100"),
        ({"extra_headers": {"anthropic-beta": "secret-1"}}, anthropic.PermissionDeniedError, "the beta 'secret-1'"),
        ({"container": "container_1"}, anthropic.PermissionDeniedError, "container"),
        ({"messages": 7}, anthropic.BadRequestError, "messages"),
        ({"model": ""}, anthropic.BadRequestError, "model"),
    ],
)
async def test_what_the_plan_or_claude_does_not_take_is_told_once_in_claudes_shape(behind, more, error, said):
    question = asking("Hello") | {"model": "claude-haiku-5", "max_tokens": 100} | more
    async with behind(**SMALL) as here, sdk(here.caller, max_retries=2) as client:
        for stream_it in (False, True):
            with pytest.raises(error, match=said) as caught:
                await client.messages.create(**question, stream=stream_it)
            assert caught.value.body["type"] == "error"
        assert here.simulator.stats.requests <= 2


async def test_a_route_that_is_not_served_names_the_ones_that_are(behind):
    async with behind() as here, sdk(here.caller, max_retries=2) as client:
        with pytest.raises(anthropic.NotFoundError, match="POST /v1/messages") as caught:
            await client.messages.batches.list()
        with pytest.raises(anthropic.NotFoundError, match="GET /v1/models"):
            await client.post("/v1/complete", body={}, cast_to=object)
    assert caught.value.type == "not_found_error"


async def test_an_unknown_model_is_claudes_own_not_found_error(behind):
    async with behind() as here, sdk(here.caller) as client:
        with pytest.raises(anthropic.NotFoundError, match="model: gpt-4") as caught:
            await client.messages.create(**asking("Hello") | {"model": "gpt-4"})
        with pytest.raises(anthropic.NotFoundError, match="gpt-4"):
            await client.models.retrieve("gpt-4")
    assert caught.value.request_id.startswith("req_011C")


async def test_a_limit_of_ours_says_when_to_come_back_and_the_sdk_heeds_it(behind):
    async with behind(**FEW) as here, sdk(here.caller, Impatient, max_retries=2) as client:
        await client.messages.create(**asking("Hello"))
        with pytest.raises(anthropic.RateLimitError, match="requests-per-minute") as caught:
            await client.messages.create(**asking("Hello"))
        assert here.simulator.stats.requests == 1
    told = int(caught.value.response.headers["retry-after"])
    assert 1 <= told <= 60
    assert len(client.waits) == 2
    assert all(told <= wait <= 60 for wait in client.waits)
    assert caught.value.type == "rate_limit_error"
    assert "requests-per-minute" in caught.value.response.headers["ratelimit-policy"]


async def test_a_retry_after_our_refusal_gets_through_when_there_is_room_again(shop):
    """One stream at a time: the second call is refused, waits as it was told to, and is answered."""
    refused = asyncio.Event()

    class Watched(anthropic.AsyncAnthropic):
        def _calculate_retry_timeout(self, *args, **kwargs):
            refused.set()
            return super()._calculate_retry_timeout(*args, **kwargs)

    async def until_refused(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK)
        await refused.wait()
        await peer.chunk(HELLO[len(START + BLOCK) :])
        await peer.end()

    async def ask(client):
        async with client.messages.stream(**asking("Hello")) as events:
            return await events.get_final_text()

    async with (
        scripted_upstream(until_refused, stream(HELLO)) as claude,
        shop(claude, **ALONE) as caller,
        sdk(caller, Watched, max_retries=5) as client,
        asyncio.timeout(30),
        client.messages.stream(**asking("Hello")) as first,
    ):
        assert (await anext(aiter(first))).type == "message_start"
        assert await asyncio.gather(ask(client), first.get_final_text()) == ["Hello", "Hello"]
    assert refused.is_set()


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("status", [500, 529])
async def test_a_short_trouble_of_claudes_is_cured_by_the_gateway_unseen(behind, status, streamed):
    """The SDK does not even know: the gateway tried again before the first event."""
    question = asking(f"Hello [[sim: status={status}; retry-after=0.01; count=2]]")
    async with behind() as here, sdk(here.caller) as client:
        if streamed:
            async with client.messages.stream(**question) as events:
                message = await events.get_final_message()
        else:
            message = await client.messages.create(**question)
        assert here.simulator.stats.refused == 2
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (404, "not_found_error", anthropic.NotFoundError),
        (413, "request_too_large", anthropic.ContentTooLargeError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (504, "timeout_error", anthropic.GatewayTimeoutError),
        (529, "overloaded_error", anthropic.OverloadedError),
    ],
)
async def test_an_error_of_claudes_is_the_same_exception_as_without_a_gateway(shop, status, kind, error):
    async with (
        scripted_upstream(refusal(status, kind, b"retry-after: 7", b"x-new: 1", b"anthropic-new: 2")) as claude,
        shop(claude) as caller,
        sdk(caller) as client,
    ):
        with pytest.raises(error, match=f"{kind}!") as caught:
            await client.messages.create(**asking("Hello"))
    assert caught.value.status_code == status
    assert caught.value.type == kind
    assert caught.value.request_id == "req_claude"
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.response.headers["anthropic-new"] == "2"
    assert caught.value.response.headers["x-request-id"].startswith("req_gw")


async def test_claudes_retry_after_reaches_the_sdk_which_heeds_it(shop):
    refused = refusal(429, "rate_limit_error", b"retry-after: 33")
    async with (
        scripted_upstream(refused, stream(HELLO)) as claude,
        shop(claude) as caller,
        sdk(caller, Impatient, max_retries=1) as client,
        client.messages.stream(**asking("Hello")) as events,
    ):
        assert await events.get_final_text() == "Hello"
        assert len(claude.requests) == 2
    assert client.waits == [33.0]


async def test_what_claude_says_shall_not_be_retried_is_retried_by_nobody(shop):
    refused = refusal(529, "overloaded_error", b"x-should-retry: false")
    async with scripted_upstream(refused) as claude, shop(claude) as caller, sdk(caller, max_retries=3) as client:
        with pytest.raises(anthropic.OverloadedError):
            await client.messages.create(**asking("Hello"))
        assert len(claude.requests) == 1


async def test_what_claude_says_shall_be_retried_is_although_its_status_would_not(shop):
    refused = refusal(400, "invalid_request_error", b"x-should-retry: true", b"retry-after: 0.01")
    async with scripted_upstream(refused, stream(HELLO)) as claude, shop(claude) as caller, sdk(caller) as client:
        async with client.messages.stream(**asking("Hello")) as events:
            assert await events.get_final_text() == "Hello"
        assert len(claude.requests) == 2


@pytest.mark.parametrize(("status", "kind"), [(401, "authentication_error"), (403, "permission_error")])
async def test_a_fault_of_the_operators_credential_is_not_the_callers_and_not_retried(shop, status, kind):
    async with (
        scripted_upstream(refusal(status, kind)) as claude,
        shop(claude) as caller,
        sdk(caller, max_retries=2) as client,
    ):
        with pytest.raises(anthropic.InternalServerError) as caught:
            await client.messages.create(**asking("Hello"))
        assert len(claude.requests) == 1
    assert caught.value.status_code == 502
    assert caught.value.type == "api_error"
    assert f"{kind}!" not in caught.value.message


async def test_an_error_in_mid_stream_raises_as_it_came(behind):
    pieces = []
    async with behind() as here, sdk(here.caller, max_retries=2) as client:
        with pytest.raises(anthropic.APIStatusError, match="Overloaded") as caught:
            async with client.messages.stream(**asking("Hello [[sim: error-after=3]]")) as events:
                pieces.extend([piece async for piece in events.text_stream])
        assert here.simulator.stats.requests == 1
    assert caught.value.type == "overloaded_error"


async def test_an_error_as_the_first_event_is_cured_like_a_status(shop):
    first = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    async with (
        scripted_upstream(stream(first), stream(HELLO)) as claude,
        shop(claude) as caller,
        sdk(caller) as client,
        client.messages.stream(**asking("Hello")) as events,
    ):
        assert await events.get_final_text() == "Hello"
        assert len(claude.requests) == 2


@pytest.mark.parametrize("fault", ["cut-after=3", "end-after=3", "reset-after=3", "garbage-after=3", "cut-after=0"])
async def test_a_stream_that_ends_without_its_end_raises(behind, fault):
    """Whatever way it was cut, never a message that looks complete. Garbage is the SDK's own ValueError, as without us."""
    async with behind(**ONCE) as here, sdk(here.caller) as client:
        with pytest.raises((anthropic.APIStatusError, ValueError)) as caught:
            async with client.messages.stream(**asking(f"Hello [[sim: {fault}]]")) as events:
                await events.get_final_message()
    assert isinstance(caught.value, ValueError) == fault.startswith("garbage")


@pytest.mark.parametrize("fault", ["cut-after=3", "reset-after=3"])
async def test_a_whole_answer_that_was_cut_is_an_error(behind, fault):
    async with behind(**ONCE) as here, sdk(here.caller) as client:
        with pytest.raises(anthropic.InternalServerError) as caught:
            await client.messages.create(**asking(f"Hello [[sim: {fault}]]"))
    assert caught.value.status_code == 502


async def test_a_stream_that_stalls_ends_in_a_timeout_error(shop):
    async def stalls(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await peer.closed()

    async with (
        scripted_upstream(stalls) as claude,
        shop(claude, upstream={"idle_timeout": 0.2}) as caller,
        sdk(caller) as client,
    ):
        with pytest.raises(anthropic.APIStatusError) as caught:
            async with client.messages.stream(**asking("Hello")) as events:
                await events.get_final_message()
    assert caught.value.type == "timeout_error"


async def test_a_proxys_error_page_is_an_error_in_claudes_shape(shop):
    page = answer(502, b"<html>Bad gateway of 10.1.2.3</html>", b"content-type: text/html")
    async with scripted_upstream(page) as claude, shop(claude, **ONCE) as caller, sdk(caller) as client:
        with pytest.raises(anthropic.InternalServerError) as caught:
            await client.messages.create(**asking("Hello"))
    assert caught.value.type == "api_error"
    assert "10.1.2.3" not in caught.value.message


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_timeout_of_the_sdk_ends_the_call_to_claude(shop, streamed):
    async def silent(peer):
        await peer.closed()

    async with scripted_upstream(silent) as claude, shop(claude) as caller, sdk(caller) as client:
        with pytest.raises(anthropic.APITimeoutError):
            await client.with_options(timeout=1.0).messages.create(**asking("Hello"), stream=streamed)
        async with asyncio.timeout(20):
            await claude.all_closed.wait()


@pytest.mark.parametrize("how", ["leave", "cancel", "close"])
async def test_a_client_that_leaves_ends_the_call_to_claude(shop, how):
    async def endless(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await peer.closed()

    async def read(client, reading):
        async with client.messages.stream(**asking("Hello")) as events:
            async for _ in events.text_stream:
                if how == "leave":
                    return
                reading.set()

    async with scripted_upstream(endless) as claude, shop(claude) as caller, sdk(caller) as client:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            reading = asyncio.Event()
            task = group.create_task(read(client, reading))
            if how != "leave":
                await reading.wait()
                task.cancel() if how == "cancel" else await client.close()
                if how == "close":
                    task.cancel()
        async with asyncio.timeout(20):
            await claude.all_closed.wait()


async def test_counting_and_models_fail_like_messages(behind):
    async with behind(**ONCE) as here, sdk(here.caller, api_key="tw_nobody") as client:
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
        with pytest.raises(anthropic.AuthenticationError):
            await client.models.list()
