"""Documents as large as Claude takes go through the gateway; larger ones are refused as Claude refuses them."""

from __future__ import annotations

import asyncio
import base64

import anthropic
import pytest

from tests.support.clients import asking, behind_gateway, sdk

MB = 1_000_000


def document(megabytes):
    data = base64.b64encode(b"%PDF-1.7" + bytes(megabytes * MB * 3 // 4)).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    return [{"type": "document", "source": source}, {"type": "text", "text": "What are your opening hours?"}]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_document_of_30_mb_is_answered(tmp_path, streamed):
    async with behind_gateway(tmp_path) as here, sdk(here.caller) as client:
        if streamed:
            async with client.messages.stream(**asking(document(30))) as events:
                message = await events.get_final_message()
        else:
            message = await client.messages.create(**asking(document(30)))
        assert here.caller.gateway.services.bodies.used == 0
    assert message.content[0].text.startswith("We are open")
    assert message.usage.input_tokens > 500_000


async def _too_large_for(client):
    async with client:
        await client.messages.create(**asking(document(34)))


def _too_large_for_synchronous(client):
    with client:
        client.messages.create(**asking(document(34)))


@pytest.mark.parametrize("synchronous", [True, False])
async def test_a_document_over_32_mib_is_too_large_at_once(tmp_path, synchronous):
    """The SDK reads the answer although it has not sent everything yet, and does not try again."""
    async with behind_gateway(tmp_path) as here:
        options = {"base_url": here.url, "api_key": here.key, "max_retries": 2}
        if synchronous:
            refused = asyncio.to_thread(_too_large_for_synchronous, anthropic.Anthropic(**options))
        else:
            refused = _too_large_for(anthropic.AsyncAnthropic(**options))
        with pytest.raises(anthropic.RequestTooLargeError) as caught:
            await refused
        assert here.simulator.stats.requests == 0
    assert caught.value.type == "request_too_large"
    assert str(32 * 1024 * 1024) in caught.value.message
