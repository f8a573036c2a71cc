"""Claude's Python SDK, pointed at a gateway by its address and one of our keys: everything that goes well."""

from __future__ import annotations

import asyncio
import json

import anthropic
import pytest

from tests.support.clients import MODEL, WEATHER, asking, behind_gateway, sdk
from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import (
    BLOCK,
    END,
    HELLO,
    PING,
    START,
    answer,
    event,
    scripted_upstream,
    stream,
    text_delta,
)


@pytest.fixture
def behind(tmp_path):
    return lambda pace=None, **sections: behind_gateway(tmp_path, pace, **sections)


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


@pytest.mark.parametrize(
    "credential",
    [
        lambda key: {"api_key": key},
        lambda key: {"auth_token": key},
        lambda key: {"api_key": key, "default_headers": {"x-api-key": key, "Authorization": anthropic.Omit()}},
        lambda key: {"api_key": key, "default_headers": {"x-api-key": key}},
    ],
    ids=["api_key", "auth_token", "x-api-key", "both"],
)
async def test_one_of_our_keys_is_enough_however_it_is_sent_and_never_reaches_claude(behind, credential):
    async with behind({"record": True}) as here, sdk(here.caller, **credential(here.key)) as client:
        message = await client.messages.create(**asking("What are your opening hours?"))
        async with here.caller.session.get(f"{here.simulator.url}/_sim/last") as last:
            seen = await last.text()
    assert message.content[0].text.startswith("We are open Monday to Friday")
    assert here.key not in seen
    assert here.key.rpartition("_")[2][:8] not in seen


async def test_a_stream_and_a_whole_message_say_the_same(behind):
    async with behind() as here, sdk(here.caller) as client:
        async with client.messages.stream(**asking("What are your opening hours?")) as events:
            pieces = [piece async for piece in events.text_stream]
            streamed = await events.get_final_message()
        whole = await client.messages.create(**asking("What are your opening hours?"))
    assert "".join(pieces) == streamed.content[0].text == whole.content[0].text
    assert streamed.usage.output_tokens == whole.usage.output_tokens == len(pieces) > 20
    assert streamed.stop_reason == whole.stop_reason == "end_turn"
    assert streamed.model == whole.model == MODEL


def _synchronously(url, key):
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=30.0) as client:
        with client.messages.stream(**asking("Hello")) as events:
            streamed = "".join(events.text_stream)
        raw = [item.type for item in client.messages.create(**asking("Hello"), stream=True)]
        return (
            streamed,
            client.messages.create(**asking("Hello")).content[0].text,
            raw,
            client.models.retrieve(MODEL).id,
        )


async def test_the_synchronous_client_works_alike(behind):
    async with behind() as here:
        streamed, whole, raw, model = await asyncio.to_thread(_synchronously, here.url, here.key)
    assert streamed == whole
    assert (raw[0], raw[-1]) == ("message_start", "message_stop")
    assert model == MODEL


async def test_the_first_token_reaches_the_sdk_before_claude_has_said_the_second(shop):
    """Nothing on the way waits for more: the upstream goes on only when the SDK has the first piece."""
    read = asyncio.Event()

    async def script(peer):
        await stream(START + BLOCK + text_delta("Hel"))(_Open(peer))
        await read.wait()
        await peer.chunk(text_delta("lo") + END)
        await peer.end()

    pieces = []
    async with (
        scripted_upstream(script) as claude,
        shop(claude) as caller,
        sdk(caller) as client,
        asyncio.timeout(20),
        client.messages.stream(**asking("Hello")) as events,
    ):
        async for piece in events.text_stream:
            pieces.append(piece)
            read.set()
    assert pieces == ["Hel", "lo"]


class _Open:
    """A peer whose stream is not ended."""

    def __init__(self, peer):
        self.send = peer.send
        self.chunk = peer.chunk

    async def end(self):
        """Leave it open."""


async def test_a_tool_is_used_and_its_result_is_answered_in_text(behind):
    question = asking("What is the weather in San Francisco?", tools=[WEATHER])
    async with behind() as here, sdk(here.caller) as client:
        async with client.messages.stream(**question) as events:
            deltas = [item.partial_json async for item in events if item.type == "input_json"]
            first = await events.get_final_message()
        use = first.content[-1]
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "17 degrees, fog"}
        turns = [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        second = await client.messages.create(**question | {"messages": [*question["messages"], *turns]})
    assert first.stop_reason == "tool_use"
    assert (use.type, use.name) == ("tool_use", "get_weather")
    assert use.input == {"location": "San Francisco", "unit": "celsius"} == json.loads("".join(deltas))
    assert len(deltas) > 2
    assert second.stop_reason == "end_turn"
    assert "17 degrees, fog" in second.content[0].text


async def test_thinking_comes_signed_before_the_text_and_is_counted(behind):
    question = asking("Explain tides", thinking={"type": "enabled", "budget_tokens": 1024})
    async with behind() as here, sdk(here.caller) as client:
        async with client.messages.stream(**question) as events:
            kinds = [item.type async for item in events]
            streamed = await events.get_final_message()
        whole = await client.messages.create(**question)
    for message in (streamed, whole):
        thought, text = message.content
        assert (thought.type, text.type) == ("thinking", "text")
        assert "tides" in thought.thinking
        assert thought.signature
        assert message.usage.output_tokens_details.thinking_tokens > 0
    assert kinds.index("thinking") < kinds.index("signature") < kinds.index("text")


async def test_counted_tokens_are_those_of_the_request(behind):
    question = asking("How many tokens is this?")
    async with behind() as here, sdk(here.caller) as client:
        counted = await client.messages.count_tokens(model=MODEL, messages=question["messages"])
        message = await client.messages.create(**question)
    assert counted.input_tokens == message.usage.input_tokens > 5


async def test_models_are_listed_page_by_page_and_one_by_one(behind):
    async with behind() as here, sdk(here.caller) as client:
        names = [model.id async for model in client.models.list(limit=5)]
        one = await client.models.retrieve(names[0])
        beta = [model.id async for model in client.beta.models.list(limit=100)]
    assert len(names) == len(set(names)) > 10
    assert one.id == names[0]
    assert beta == names


async def test_cache_usage_is_claudes_in_whole_messages_and_in_streams(behind):
    system = [{"type": "text", "text": "Be kind. " * 50, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    async with behind() as here, sdk(here.caller) as client:
        first = await client.messages.create(**asking("Hello", system=system))
        async with client.messages.stream(**asking("Another question", system=system)) as events:
            second = await events.get_final_message()
    assert first.usage.cache_creation.ephemeral_1h_input_tokens == first.usage.cache_creation_input_tokens > 100
    assert first.usage.cache_read_input_tokens == 0
    assert second.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens
    assert second.usage.cache_creation_input_tokens == 0


async def test_betas_go_upstream(shop):
    betas = ["context-1m-2025-08-07", "interleaved-thinking-2025-05-14"]
    counted = answer(200, b'{"input_tokens":7}')
    async with scripted_upstream(stream(HELLO), counted) as claude, shop(claude) as caller, sdk(caller) as client:
        async with client.beta.messages.stream(**asking("Hello"), betas=betas) as events:
            assert await events.get_final_text() == "Hello"
        tokens = await client.beta.messages.count_tokens(
            model=MODEL, messages=asking("Hello")["messages"], betas=betas[:1]
        )
        first, second = claude.requests
    assert tokens.input_tokens == 7
    assert first.line == "POST /v1/messages HTTP/1.1"
    assert first.headers["anthropic-beta"].split(",") == betas
    assert second.line == "POST /v1/messages/count_tokens HTTP/1.1"
    assert second.headers["anthropic-beta"].split(",")[0] == betas[0]


async def test_a_query_goes_upstream_as_older_sdks_send_it(shop):
    async with scripted_upstream() as claude, shop(claude) as caller, sdk(caller) as client:
        async with client.messages.stream(**asking("Hello"), extra_query={"beta": "true"}) as events:
            assert await events.get_final_text() == "Hello"
        assert claude.requests[0].line == "POST /v1/messages?beta=true HTTP/1.1"


async def test_the_beta_client_gets_whole_answers(behind):
    async with behind() as here, sdk(here.caller) as client:
        message = await client.beta.messages.create(**asking("Hello"), betas=["context-1m-2025-08-07"])
    assert message.content[0].text.startswith("Hello")


async def test_what_the_sdk_does_not_know_yet_goes_through_it(shop):
    """Unknown events, fields and block types reach the application as Claude sent them."""
    body = (
        START
        + event("an_event_of_tomorrow", ',"weather":"fine"')
        + PING
        + event("content_block_start", ',"index":0,"content_block":{"type":"hologram","shape":"cube"}')
        + event("content_block_delta", ',"index":0,"delta":{"type":"hologram_delta","edge":7}')
        + event("content_block_stop", ',"index":0')
        + BLOCK.replace(b'"index":0', b'"index":1')
        + text_delta("Hi").replace(b'"index":0', b'"index":1')
        + END.replace(b'"index":0', b'"index":1')
    )
    async with scripted_upstream(stream(body, 7)) as claude, shop(claude) as caller, sdk(caller) as client:
        async with await client.messages.create(**asking("Hello"), stream=True) as raw:
            items = [item async for item in raw]
        async with client.messages.stream(**asking("Hello")) as events:
            message = await events.get_final_message()
    assert items[1].type == "an_event_of_tomorrow"
    assert items[1].weather == "fine"
    assert items[3].delta.edge == 7
    assert message.content[0].shape == "cube"
    assert message.content[1].text == "Hi"


async def test_a_whole_answer_reaches_the_sdk_with_fields_that_nobody_knows(shop):
    body = (
        b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"Hi"}],'
        b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1,"joules":5}  ,"a":[]}'
    )
    async with scripted_upstream(answer(200, body)) as claude, shop(claude) as caller, sdk(caller) as client:
        raw = await client.messages.with_raw_response.create(**asking("Hello"))
        message = await raw.parse()
        whole = await raw.read()
    assert whole == body
    assert message.usage.joules == 5


async def test_the_request_id_is_claudes_and_the_gateways_stands_beside_it(behind):
    async with behind() as here, sdk(here.caller) as client:
        message = await client.messages.create(**asking("Hello"))
        raw = await client.messages.with_raw_response.create(**asking("Hello"))
        async with client.messages.stream(**asking("Hello")) as events:
            await events.until_done()
            streamed = events.request_id
    assert message._request_id.startswith("req_011C")
    assert raw.headers["request-id"].startswith("req_011C")
    assert raw.headers["x-request-id"].startswith("req_gw")
    assert streamed.startswith("req_011C")


async def test_headers_of_the_operators_account_stay_with_the_operator(behind):
    async with behind() as here, sdk(here.caller) as client:
        raw = await client.messages.with_raw_response.create(**asking("Hello"))
        async with client.messages.with_streaming_response.create(**asking("Hello"), stream=True) as streamed:
            await streamed.read()
    for headers in (raw.headers, streamed.headers):
        assert not [name for name in headers if name.startswith(("anthropic-organization", "anthropic-ratelimit"))]
    assert raw.workspace_id is None


async def test_requests_of_one_client_share_one_connection_at_each_side(shop):
    async with scripted_upstream(stream(HELLO)) as claude, shop(claude) as caller, sdk(caller) as client:
        for _ in range(3):
            async with client.messages.stream(**asking("Hello")) as events:
                assert await events.get_final_text() == "Hello"
        connections = claude.connections
    assert connections == 1


async def test_the_sdks_own_tool_runner_works_through_the_gateway(behind):
    @anthropic.beta_async_tool
    async def get_weather(location: str) -> str:
        """Current weather of a place.

        Args:
            location: Where.
        """
        return f"17 degrees and fog in {location}"

    # The runner asks for a thread, which is refused, and goes on without.
    async with behind() as here, sdk(here.caller) as client:
        runner = client.beta.messages.tool_runner(
            **asking("What is the weather in San Francisco?"), tools=[get_weather]
        )
        last = await runner.until_done()
    assert "17 degrees and fog in San Francisco" in last.content[0].text


async def test_answers_parsed_by_a_schema_work_through_the_gateway(behind):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    async with behind() as here, sdk(here.caller) as client:
        message = await client.messages.create(**asking("A hotel in Paris", output_config=wanted))
    assert message.content[0].text == '{"city": "Paris"}'
