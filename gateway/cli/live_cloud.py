"""``config check --live`` for Bedrock and Vertex AI: the gateway's own way to them, for one call of ten tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from gateway.core.call import Call
from gateway.core.errors import GatewayError
from gateway.tasks import TaskOwner
from gateway.upstream.clouds import CloudUpstream
from gateway.upstream.collect import Collector
from gateway.upstream.settings import TransportSettings, UpstreamSettings

Judged = tuple[bool, str, str]
_LONGEST_ANSWER = 64 * 1024  # bytes, as of Claude's own
_CREDENTIAL = (401, 403)
_MODEL = (400, 404)


async def ask_cloud(
    settings: UpstreamSettings, body: dict[str, object], transport: TransportSettings, judge: Callable[..., Judged]
) -> Judged:
    """Say whether the gateway can work with the cloud, what was found, and what to do.

    Args:
        settings: The upstream.
        body: The request.
        transport: Deadlines.
        judge: Says what an answer means, by its status and body in Claude's shape and the model's name.
    """
    tasks = TaskOwner(lambda _error: None)
    model = str(body["model"])
    call = Call("POST", "/v1/messages", json.dumps(body).encode(), {}, model)
    try:
        async with asyncio.timeout(transport.chat_timeout):
            status, answer = await _answer(CloudUpstream(settings, transport, tasks.spawn), call)
    except ValueError as error:
        return False, f"not asked: {error}", "set upstream.https_proxy to a proxy that can be used, or to off"
    except TimeoutError:
        return False, f"unreachable: no answer within {transport.chat_timeout:g} s", "try again, or check base_url"
    except GatewayError as error:
        return False, f"unreachable: {error.detail or error.message}", "check its credential, base_url and the network"
    finally:
        await tasks.close()
    ok, found, advice = judge(status, answer, model)
    if status in _CREDENTIAL:
        advice = "check its credential, and that it may use this model in this region"
    elif not ok and status in _MODEL:
        advice = f"map {model}, which is chat.model, to a name that the cloud knows, under [upstreams.models]"
    return ok, found, advice


async def _answer(upstream: CloudUpstream, call: Call) -> tuple[int, bytes]:
    exchange = upstream.send(await upstream.pool.acquire(), call, call.headers)
    await exchange.head
    collector = Collector(exchange, _LONGEST_ANSWER)
    exchange.attach(collector)
    await collector.done
    return exchange.status, collector.body()
