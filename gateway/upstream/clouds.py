"""A cloud as an upstream: the same to whoever asks it as Claude's own API.

- Only ``/v1/messages`` is there. Token counts, models and the rest are a 404 in Claude's shape, and nobody is asked.
- The body goes to the SDK as the client sent it, with the cloud's name of the model where the configuration has one.
- Betas are told by the header alone, which plans restrict: the fields that mean the same to a cloud are refused.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx2

from gateway.core.call import Call
from gateway.core.claude import load_json
from gateway.core.errors import Draining, InvalidRequest
from gateway.upstream.cloud_client import Cloud, bound, http_client
from gateway.upstream.cloud_errors import error_of
from gateway.upstream.cloud_exchange import CloudExchange, ToldExchange
from gateway.upstream.pool import Observer, Spawn, Unobserved
from gateway.upstream.settings import TransportSettings, UpstreamSettings

_MESSAGES = "/v1/messages"
_NOT_FOUND = 404
# Past this a body is decoded beside the event loop, which it would hold up for a millisecond.
_LARGE = 1024 * 1024
_FORWARDED = ("traceparent", "tracestate")
# Fields of the clouds' own; Claude's API knows none of them.
_CLOUDS_FIELDS = ("anthropic_beta", "anthropic_version", "user_profile_id")
_SECRETS = ("api_key", "access_key", "secret_key", "session_token", "access_token")
# Model ids, versions, inference profiles and their ARNs; what is a step in a path is not among them.
_MODEL = re.compile(r"(?!\.)[\w.:@+-]+(/(?!\.)[\w.:@+-]+)*", re.ASCII)


class CloudUpstream:
    """Bedrock or Vertex AI.

    Args:
        settings: Which, where, and the credential.
        transport: Bounds and deadlines.
        spawn: Starts a task that is drained at shutdown.
        observer: Is told where to read how many requests are under way.

    Raises:
        ValueError: The proxy on the way to it cannot be used.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        transport: TransportSettings,
        spawn: Spawn,
        observer: Observer | None = None,
    ) -> None:
        self.name = settings.name
        self.pool = CloudPool(observer or Unobserved())
        self._spawn = spawn
        self._models = settings.models
        self._max_refusal = int(transport.max_refusal)
        self._receive_buffer = int(transport.receive_buffer)
        secrets = (getattr(settings, name) for name in _SECRETS)
        self._secrets = tuple(secret.get_secret_value() for secret in secrets if secret is not None)
        self._cloud = _open(settings, transport)
        spawn(self._keep())

    def send(self, connection: object, call: Call, headers: Mapping[str, str]) -> CloudExchange | ToldExchange:  # noqa: ARG002 - the HTTP library chooses the connection
        """Send a call."""
        if call.method != "POST" or call.target.partition("?")[0] != _MESSAGES:
            text = f"{call.target.partition('?')[0]} is not offered by {self._cloud.title}."
            return ToldExchange(_NOT_FOUND, error_of("not_found_error", text))
        stream = (self._cloud.stream_type, self._cloud.frames) if call.stream else None
        exchange = CloudExchange(partial(self._ask, call, headers), stream, self._max_refusal, self._secrets)
        exchange.task = self._spawn(exchange.run())
        self.pool.add(exchange)
        return exchange

    async def _ask(self, call: Call, headers: Mapping[str, str]) -> httpx2.Response:
        large = len(call.body) > _LARGE
        fields = await asyncio.to_thread(load_json, call.body) if large else load_json(call.body)
        response = await self._cloud.ask(self._body(fields), _headers(headers), self._secrets)
        bound(response, self._receive_buffer)
        return response

    def _body(self, fields: dict[str, Any]) -> dict[str, Any]:
        for name in _CLOUDS_FIELDS:
            if name in fields:
                raise InvalidRequest(f"{name}: Extra inputs are not permitted")
        model = self._models.get(fields["model"], fields["model"])
        if not _MODEL.fullmatch(model):
            raise InvalidRequest(f"model: {model[:100]} is not the name of a model")
        return fields | {"model": model}

    async def _keep(self) -> None:
        """Keep the client's connections until the process ends; then close them."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._cloud.client.close()


class CloudPool:
    """The exchanges that are under way; their connections are the HTTP library's.

    Args:
        observer: Is told where to read their number.
    """

    def __init__(self, observer: Observer) -> None:
        self._running: set[CloudExchange] = set()
        self._closed = False
        self._observer = observer
        observer.opened(self)

    @property
    def busy(self) -> int:
        """How many are under way."""
        return len(self._running)

    @property
    def idle(self) -> int:
        """None: the HTTP library does not tell."""
        return 0

    def acquire(self, *, fresh: bool = False) -> asyncio.Future[CloudPool.Turn]:  # noqa: ARG002 - the HTTP library chooses
        """Return a future of a turn to send, done at once."""
        future: asyncio.Future[CloudPool.Turn] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(Draining("The gateway is restarting. Please try again.", retry_after=1.0))
        else:
            future.set_result(CloudPool.Turn())
        return future

    def add(self, exchange: CloudExchange) -> None:
        """Count an exchange until it is over."""
        self._running.add(exchange)
        if exchange.task is not None:
            exchange.task.add_done_callback(lambda _task: self._running.discard(exchange))

    def close(self) -> None:
        """End every exchange; who waits for one is told so."""
        self._closed = True
        self._observer.closed(self)
        for exchange in tuple(self._running):
            exchange.stop()

    class Turn:
        """A turn to send. Nothing is held for it until something is sent."""

        def close(self) -> None:
            """Give it up."""


def _open(settings: UpstreamSettings, transport: TransportSettings) -> Cloud:
    # Each needs an extra, so each is imported only where it is configured.
    if settings.kind == "bedrock":
        from gateway.upstream.cloud_bedrock import open_bedrock  # noqa: PLC0415 - see above

        return open_bedrock(settings, http_client(settings, transport), int(transport.max_event))
    from gateway.upstream.cloud_vertex import open_vertex  # noqa: PLC0415 - see above

    return open_vertex(settings, http_client(settings, transport))


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    forwarded = {name: value for name, value in headers.items() if name in _FORWARDED}
    # The SDK splits the list at its commas and no further.
    betas = [beta.strip() for beta in headers.get("anthropic-beta", "").split(",")]
    if any(betas):
        forwarded["anthropic-beta"] = ",".join(filter(None, betas))
    return forwarded
