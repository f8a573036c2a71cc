"""Google's Vertex AI: Claude's SDK finds the credential and sends; the streams are Claude's own events already."""

from __future__ import annotations

import google.auth.transport.requests  # noqa: F401 - the SDK imports it with the first request, amid serving
import httpx2
from anthropic import AsyncAnthropicVertex
from google.auth.exceptions import GoogleAuthError, TransportError

from gateway.upstream.cloud_client import Cloud, sdk_options
from gateway.upstream.cloud_exchange import Whole
from gateway.upstream.settings import UpstreamSettings

_STREAM = "text/event-stream"


def open_vertex(settings: UpstreamSettings, http: httpx2.AsyncClient) -> Cloud:
    """Return what asks Vertex AI."""
    token = settings.access_token
    client = AsyncAnthropicVertex(
        region=settings.region or "",
        project_id=settings.project or "",
        access_token=None if token is None else token.get_secret_value().strip() or None,
        **sdk_options(settings, http),
    )
    return Cloud(
        title="Vertex AI",
        client=client,
        stream_type=_STREAM,
        frames=Whole,
        no_credential=(GoogleAuthError, RuntimeError, ValueError),
        no_connection=(TransportError,),
    )
