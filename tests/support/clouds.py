"""Bedrock and Vertex AI as far as they are seen on the wire: signatures checked, AWS's event streams written.

Both are written from AWS's and Google's descriptions, and not with the libraries that the gateway asks them with.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import zlib
from urllib.parse import quote

import pytest

from gateway.core.call import Call
from gateway.core.errors import GatewayError
from gateway.upstream.clouds import CloudUpstream
from gateway.upstream.collect import Collector
from tests.support.scripted_upstream import Peer, Received, Script
from tests.support.upstreams import within

REGION, PROJECT = "eu-west-7", "shop-and-sons"
ACCESS_KEY, SECRET_KEY, SESSION_TOKEN = "AKIDEXAMPLE", "wJalr/hush+hush+EXAMPLEKEY", "FwoG/hush/session=="
GOOGLE_TOKEN = "ya29.hush-hush"
AWS_CREDENTIAL = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "session_token": SESSION_TOKEN}
ALIAS, BEDROCK_MODEL, VERTEX_MODEL = "claude-sonnet-5-5", "eu.anthropic.claude-sonnet-5-5-v1:0", "claude-sonnet-5-5@20270101"  # fmt: skip
AWS_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nx-amzn-requestid: aws-request-1\r\n"
    b"x-amzn-bedrock-content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
)


def bedrock(url: str, **settings: object) -> dict[str, object]:
    """Return the settings of a Bedrock upstream at some address."""
    models = {ALIAS: BEDROCK_MODEL}
    return {"name": "aws", "kind": "bedrock", "base_url": url, "region": REGION, "models": models} | AWS_CREDENTIAL | settings  # fmt: skip


def vertex(url: str, **settings: object) -> dict[str, object]:
    """Return the settings of a Vertex AI upstream at some address."""
    place = {"base_url": f"{url}/v1", "region": REGION, "project": PROJECT, "access_token": GOOGLE_TOKEN}
    return {"name": "google", "kind": "vertex", "models": {ALIAS: VERTEX_MODEL}} | place | settings


# AWS's event stream: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """Return one message: lengths, their checksum, headers, payload, the checksum of all."""
    packed = b"".join(
        struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    prelude += struct.pack("!I", zlib.crc32(prelude))
    message = prelude + packed + payload
    return message + struct.pack("!I", zlib.crc32(message))


def chunk(data: bytes) -> bytes:
    """Return the message that brings one event of Claude's."""
    payload = json.dumps({"bytes": base64.b64encode(data).decode(), "p": "abcdefghij"}).encode()
    kind = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return frame(kind, payload)


def exception(kind: str, message: str) -> bytes:
    """Return the message that says what went wrong."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps({"message": message}).encode())


def chunks(sse: bytes) -> bytes:
    """Return server-sent events, each of one line of data, as messages."""
    lines = (line for line in sse.split(b"\n") if line.startswith(b"data: "))
    return b"".join(chunk(line[6:]) for line in lines)


def aws_stream(body: bytes, size: int = 0) -> Script:
    """Answer with an event stream, whole or in pieces of some size."""

    async def script(peer: Peer) -> None:
        await peer.send(AWS_HEAD)
        step = size or len(body) or 1
        for start in range(0, len(body), step):
            await peer.chunk(body[start : start + step])
        await peer.end()

    return script


# Signature version 4: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html


def check_signature(request: Received) -> None:
    """Check who signed a request, and that it came as it was signed."""
    scheme, _, rest = request.headers["authorization"].partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(","))
    date = request.headers["x-amz-date"]
    scope = f"{date[:8]}/{REGION}/bedrock/aws4_request"
    assert scheme == "AWS4-HMAC-SHA256"
    assert fields["Credential"] == f"{ACCESS_KEY}/{scope}"
    assert request.headers["x-amz-security-token"] == SESSION_TOKEN
    signed = fields["SignedHeaders"].split(";")
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(signed)
    method, path, _ = request.line.split(" ")
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/-_.~"),
            "",
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in signed),
            "",
            fields["SignedHeaders"],
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (date[:8], REGION, "bedrock", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    assert fields["Signature"] == hmac.new(key, text.encode(), "sha256").hexdigest()


CALL = Call("POST", "/v1/messages", b'{"model":"m","stream":true}', {}, "m", stream=True, max_tokens=10)
MEGABYTE = 2**20


async def send(upstream: CloudUpstream, call: Call = CALL):
    return upstream.send(await upstream.pool.acquire(), call, {})


async def refused(upstream: CloudUpstream) -> tuple[int, dict[str, str], dict[str, object]]:
    exchange = await send(upstream)
    await within(exchange.head)
    collector = Collector(exchange, MEGABYTE)
    exchange.attach(collector)
    await within(collector.done)
    return exchange.status, exchange.headers, json.loads(collector.body())


async def failure(upstream: CloudUpstream) -> GatewayError:
    exchange = await send(upstream)
    with pytest.raises(GatewayError) as raised:
        await within(exchange.head)
    for secret in (SECRET_KEY, SESSION_TOKEN, GOOGLE_TOKEN):
        assert secret not in f"{raised.value} {raised.value.detail}"
    return raised.value
