"""Claude's SDK as the way to a cloud: it shapes the request, finds the credential, signs, and sends; no more.

- It retries nothing and sets no deadline of its own: attempts and deadlines are the gateway's, but for connecting.
- Answers come back unread, whatever their status.
- Its own words are not for clients: what it raises is mapped here, and no text that may quote a credential is kept.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2
from anthropic import APIConnectionError, APITimeoutError, AsyncAnthropicBedrock, AsyncAnthropicVertex, AsyncStream

from gateway import __version__
from gateway.core.errors import (
    GatewayError,
    InvalidRequest,
    Overloaded,
    UpstreamCredential,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.upstream.cloud_errors import hidden
from gateway.upstream.cloud_exchange import Frames
from gateway.upstream.proxy import proxy_for
from gateway.upstream.settings import TransportSettings, UpstreamSettings

_LONGEST_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud, ready to be asked.

    Attributes:
        title: Its name for people.
        client: The SDK's client.
        stream_type: Media type of its streams.
        frames: Makes what reads one stream.
        no_credential: What is raised when no credential is found, or none is given.
        no_connection: The same when those who give it cannot be reached; among ``no_credential``.
    """

    title: str
    client: AsyncAnthropicBedrock | AsyncAnthropicVertex
    stream_type: str
    frames: Callable[[], Frames]
    no_credential: tuple[type[Exception], ...]
    no_connection: tuple[type[Exception], ...]

    async def ask(self, body: dict[str, Any], headers: Mapping[str, str], secrets: Collection[str]) -> httpx2.Response:
        """Send a request to ``/v1/messages``; return the response with its body unread.

        Args:
            body: As Claude's own API takes it, with the cloud's name of the model.
            headers: Headers beside the SDK's own.
            secrets: What no error may quote.

        Raises:
            GatewayError: There is no answer.
        """
        try:
            response: Any = await self.client.post(
                "/v1/messages",
                body=body,
                cast_to=httpx2.Response,
                options={"headers": headers},
                stream=True,  # the body is left unread, also where it is no stream
                stream_cls=AsyncStream[Any],
            )
            answer: httpx2.Response = response
        except APIConnectionError as error:
            raise _unreachable(error) from None
        except UnicodeEncodeError:
            raise InvalidRequest("The request body holds half of a character (an unpaired surrogate).") from None
        except self.no_credential as error:
            detail = hidden(f"{self.title}: {type(error).__name__}: {error}", secrets)[:_LONGEST_DETAIL]
            if isinstance(error, self.no_connection):
                raise UpstreamUnreachable("Claude could not be reached.", detail=detail) from None
            text = "The gateway's access to Claude was refused. The operator has been told."
            raise UpstreamCredential(text, detail=detail) from None
        return answer


def sdk_options(settings: UpstreamSettings, http: httpx2.AsyncClient) -> dict[str, Any]:
    """Return the options that the SDK's clients for both clouds have in common."""
    return {
        "base_url": str(settings.base_url),
        "http_client": http,
        "timeout": http.timeout,
        "max_retries": 0,
        "open_telemetry": False,
        "default_headers": {"User-Agent": f"tokenweir/{__version__}", "Accept-Encoding": "identity"},
        "middleware": [_as_it_came],
    }


def http_client(settings: UpstreamSettings, transport: TransportSettings) -> httpx2.AsyncClient:
    """Return what the SDK sends with.

    Raises:
        ValueError: The proxy on the way cannot be used.
    """
    proxy = proxy_for(settings.base_url, transport)
    told = {"Proxy-Authorization": proxy.authorization} if proxy is not None and proxy.authorization else {}
    return httpx2.AsyncClient(
        verify=ssl.create_default_context(cafile=transport.ca_file),
        proxy=None if proxy is None else httpx2.Proxy(f"http://{proxy}", headers=told),
        trust_env=False,
        timeout=httpx2.Timeout(None, connect=transport.connect_timeout, pool=transport.pool_timeout),
        limits=httpx2.Limits(
            max_connections=transport.max_connections,
            max_keepalive_connections=transport.keepalive,
            keepalive_expiry=transport.keepalive_timeout,
        ),
        # What a load balancer sets with one tenant's answer is not sent with another's request.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


def bound(response: httpx2.Response, receive_buffer: int) -> None:
    """Bound what the kernel takes for a client that is slow; without a bound Linux lets it grow to megabytes."""
    sock = response.extensions["network_stream"].get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):  # it has been closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)


async def _as_it_came(request: Any, call_next: Callable[[Any], Any]) -> httpx2.Response:
    """Hand on the response itself; of an error the SDK would read the body, however long, and raise."""
    response = await call_next(request)
    answer: httpx2.Response = getattr(response, "http_response", response)
    return answer


def _unreachable(error: APIConnectionError) -> GatewayError:
    cause = error.__cause__
    if isinstance(cause, httpx2.PoolTimeout):
        text = "All connections to Claude are in use. Try again."
        return Overloaded(text, retry_after=1.0, limit="upstream.max_connections")
    if isinstance(error, APITimeoutError):
        return UpstreamTimeout("Claude could not be reached in time.", detail=type(cause).__name__)
    # Of a header that cannot be sent the text quotes the value.
    said = f": {cause}" if isinstance(cause, httpx2.ConnectError | httpx2.ProxyError) else ""
    return UpstreamUnreachable("Claude could not be reached.", detail=f"{type(cause).__name__}{said}")
