"""Amazon Bedrock: Claude's SDK signs and sends, and AWS's event stream becomes server-sent events.

- A frame of the stream is checked (both checksums) and unpacked; the JSON in it is passed on byte for byte, named after
  its ``type``. Frames that hold no event of Claude's (metadata) are left out.
- An exception in the stream becomes an ``error`` event in Claude's words.
- The frames are read here and not by the SDK's own decoder, a generator of one event at a time that reads each by the
  service's model: 18 µs an event instead of 11, and what one read brought could not leave at once.
"""

from __future__ import annotations

import re
import struct
from base64 import b64decode
from typing import Any

import boto3  # noqa: F401 - the SDK imports it with the first request, in the middle of serving
import botocore.auth
import botocore.awsrequest  # noqa: F401 - the same
import httpx2
import orjson
from anthropic import AsyncAnthropicBedrock
from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from pydantic import SecretStr

from gateway.core.errors import GatewayError, UpstreamMalformed
from gateway.upstream.cloud_client import Cloud, sdk_options
from gateway.upstream.cloud_errors import event_of
from gateway.upstream.settings import UpstreamSettings

_STREAM = "application/vnd.amazon.eventstream"
_TYPED = re.compile(rb'\{\s*"type"\s*:\s*"([a-z_]+)"')
_NAME = re.compile(r"[\w.-]+", re.ASCII)
# What base64, the JSON around it and the frame's headers add to an event, at most.
_OVERHEAD = 1.5
_FRAME = 4096


def open_bedrock(settings: UpstreamSettings, http: httpx2.AsyncClient, max_event: int) -> Cloud:
    """Return what asks Bedrock."""
    client = AsyncAnthropicBedrock(
        aws_region=settings.region,
        api_key=_text(settings.api_key),
        **sdk_options(settings, http),
    )
    if settings.access_key is not None:
        # Given to its constructor they are refused where AWS_BEARER_TOKEN_BEDROCK is set; what is configured wins.
        client.api_key = None
        client.aws_access_key, client.aws_secret_key = _text(settings.access_key), _text(settings.secret_key)
        client.aws_session_token = _text(settings.session_token)
    return Cloud(
        title="Amazon Bedrock",
        client=client,
        stream_type=_STREAM,
        frames=lambda: EventFrames(max_event),
        no_credential=(BotoCoreError, ClientError, RuntimeError),
        no_connection=(HTTPClientError,),
    )


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value().strip() or None


class EventFrames:
    """Turns AWS's event stream into server-sent events.

    Args:
        max_event: Largest single event.

    Attributes:
        failure: What is wrong with the stream.
    """

    def __init__(self, max_event: int) -> None:
        self._buffer = EventStreamBuffer()
        self._pending = 0
        self._limit = int(max_event * _OVERHEAD) + _FRAME
        self.failure: GatewayError | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that are complete with this chunk."""
        self._buffer.add_data(chunk)
        self._pending += len(chunk)
        events: list[bytes] = []
        try:
            for message in self._buffer:
                self._pending -= message.prelude.total_length
                events.append(_event(message))
        except (ParserError, ValueError, LookupError, TypeError, struct.error) as error:
            # Their texts are numbers of the framing; a decoding error quotes what was read.
            detail = str(error) if isinstance(error, ParserError) else type(error).__name__
            self.failure = UpstreamMalformed("Claude's answer is not a valid event stream.", detail=detail)
        if self._pending > self._limit:
            self.failure = UpstreamMalformed("Claude sent an event that is larger than this gateway takes.")
        return b"".join(events)


def _event(message: EventStreamMessage) -> bytes:
    headers, payload = message.headers, message.payload
    kind = headers.get(":message-type")
    if kind == "exception":
        return _sse("error", event_of(str(headers.get(":exception-type", "")), payload))
    if kind == "error":
        told = orjson.dumps({"message": str(headers.get(":error-message", ""))})
        return _sse("error", event_of(str(headers.get(":error-code", "")), told))
    body: Any = orjson.loads(payload) if payload else {}
    encoded = body.get("bytes") if isinstance(body, dict) else None
    if not isinstance(encoded, str):
        return b""
    data = b64decode(encoded, validate=True)
    return _sse(_name(data), data)


def _name(data: bytes) -> str:
    """Return an event's type, empty where it has none that can be written as a name."""
    if (match := _TYPED.match(data)) is not None:
        return match[1].decode()
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return ""
    kind = body.get("type") if isinstance(body, dict) else None
    return kind if isinstance(kind, str) and _NAME.fullmatch(kind) else ""


def _sse(name: str, data: bytes) -> bytes:
    # Between its tokens JSON may have line ends, within them never; here they would end the line.
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data) if name else b"data: %b\n\n" % data
