"""Claude's own SDK against the simulator, over a real socket."""

from __future__ import annotations

import anthropic
import pytest

MODEL = "claude-sonnet-5-5"
WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a place",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["location", "unit"],
    },
}


def asking(text, **more):
    return {"model": MODEL, "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **more}


async def test_a_stream_and_a_whole_message_say_the_same(serve, claude):
    client = claude(await serve())
    async with client.messages.stream(**asking("What are your opening hours?")) as stream:
        pieces = [piece async for piece in stream.text_stream]
        streamed = await stream.get_final_message()
    whole = await client.messages.create(**asking("What are your opening hours?"))
    assert "".join(pieces) == streamed.content[0].text == whole.content[0].text
    assert whole.content[0].text.startswith("We are open Monday to Friday")
    assert streamed.usage.output_tokens == whole.usage.output_tokens == len(pieces) == 44
    assert streamed.stop_reason == whole.stop_reason == "end_turn"
    assert streamed.model == MODEL
    assert streamed.id.startswith("msg_01")


async def test_thinking_comes_signed_before_the_text_and_is_counted(serve, claude):
    client = claude(await serve())
    thinking = {"type": "enabled", "budget_tokens": 1024}
    async with client.messages.stream(**asking("Explain tides", thinking=thinking)) as stream:
        message = await stream.get_final_message()
    thought, text = message.content
    assert (thought.type, text.type) == ("thinking", "text")
    assert "tides" in thought.thinking
    assert thought.signature
    assert message.usage.output_tokens_details.thinking_tokens > 0
    assert message.usage.output_tokens > message.usage.output_tokens_details.thinking_tokens


async def test_omitted_thinking_keeps_its_signature_and_its_cost(serve, claude):
    client = claude(await serve())
    thinking = {"type": "adaptive", "display": "omitted"}
    async with client.messages.stream(**asking("Explain tides", thinking=thinking)) as stream:
        message = await stream.get_final_message()
    assert message.content[0].thinking == ""
    assert message.content[0].signature
    assert message.usage.output_tokens_details.thinking_tokens > 0


async def test_a_tool_is_used_and_its_result_is_answered_in_text(serve, claude):
    client = claude(await serve())
    question = asking("What is the weather in San Francisco?", tools=[WEATHER])
    async with client.messages.stream(**question) as stream:
        first = await stream.get_final_message()
    said, use = first.content
    assert first.stop_reason == "tool_use"
    assert (said.type, use.type, use.name) == ("text", "tool_use", "get_weather")
    assert use.input == {"location": "San Francisco", "unit": "celsius"}
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "17 degrees, fog"}
    turns = [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    question["messages"] = [*question["messages"], *turns]
    second = await client.messages.create(**question)
    assert second.stop_reason == "end_turn"
    assert "get_weather" in second.content[0].text
    assert "17 degrees, fog" in second.content[0].text


async def test_structured_output_follows_its_schema(serve, claude):
    client = claude(await serve())
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    message = await client.messages.create(**asking("A hotel in Paris", output_config=wanted))
    assert message.content[0].text == '{"city": "Paris"}'


async def test_the_first_call_writes_the_cache_and_the_second_reads_it(serve, claude):
    client = claude(await serve())
    system = [{"type": "text", "text": "Be kind. " * 50, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = await client.messages.create(**asking("Hello", system=system))
    async with client.messages.stream(**asking("Another question", system=system)) as stream:
        second = await stream.get_final_message()
    assert first.usage.cache_creation.ephemeral_1h_input_tokens == first.usage.cache_creation_input_tokens > 100
    assert first.usage.cache_read_input_tokens == 0
    assert second.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens
    assert second.usage.cache_creation_input_tokens == 0


async def test_counted_tokens_are_those_of_the_request(serve, claude):
    client = claude(await serve())
    question = asking("How many tokens is this?")
    counted = await client.messages.count_tokens(model=MODEL, messages=question["messages"])
    message = await client.messages.create(**question)
    assert counted.input_tokens == message.usage.input_tokens > 5


async def test_models_are_listed_page_by_page_and_one_by_one(serve, claude):
    client = claude(await serve())
    names = [model.id async for model in client.models.list(limit=5)]
    assert len(names) == len(set(names)) > 15
    assert (await client.models.retrieve(names[-1])).id == names[-1]


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("status=400", anthropic.BadRequestError),
        ("status=403", anthropic.PermissionDeniedError),
        ("status=429; retry-after=7", anthropic.RateLimitError),
        ("status=500", anthropic.InternalServerError),
        ("status=529", anthropic.APIStatusError),
    ],
)
async def test_the_sdk_knows_every_error_status(serve, claude, directive, error):
    client = claude(await serve())
    with pytest.raises(error) as caught:
        await client.messages.create(**asking(f"Hello [[sim: {directive}]]"))
    assert caught.value.request_id.startswith("req_011C")


async def test_an_error_in_mid_stream_reaches_the_reader(serve, claude):
    client = claude(await serve())
    pieces = []
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        async with client.messages.stream(**asking("Hello [[sim: error-after=3]]")) as stream:
            pieces.extend([piece async for piece in stream.text_stream])


async def test_a_fault_with_a_count_is_cured_by_the_sdks_retries(serve, claude):
    simulator = await serve()
    client = claude(simulator, max_retries=2)
    message = await client.messages.create(**asking("Hello [[sim: status=529; retry-after=0; count=2]]"))
    assert message.stop_reason == "end_turn"
    assert simulator.stats.refused == 2


async def test_a_wrong_key_is_an_authentication_error(serve, claude):
    client = claude(await serve(), api_key="sk-invalid")
    with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
        await client.messages.create(**asking("Hello"))


async def test_an_unknown_model_is_a_not_found_error(serve, claude):
    client = claude(await serve())
    with pytest.raises(anthropic.NotFoundError, match="model: gpt-4"):
        await client.messages.create(**asking("Hello") | {"model": "gpt-4"})
