"""config check --live asks a cloud as the gateway does, and says what to do about what it hears."""

from __future__ import annotations

import json

import pytest

from gateway.cli.live import Verdict, try_upstreams
from gateway.config import Config
from tests.support.clouds import ALIAS, GOOGLE_TOKEN, SECRET_KEY, SESSION_TOKEN, bedrock, check_signature, vertex
from tests.support.scripted_upstream import Peer, answer, scripted_upstream
from tests.support.upstreams import refusing_port

MESSAGE = b'{"type":"message","content":[{"type":"text","text":"Hello"}],"usage":{"output_tokens":2}}'


async def verdict(settings: dict[str, object], **transport: object) -> Verdict:
    config = Config.model_validate({"upstreams": [settings], "upstream": transport, "chat": {"model": ALIAS}})
    (found,) = await try_upstreams(config)
    assert not [secret for secret in (SECRET_KEY, SESSION_TOKEN, GOOGLE_TOKEN) if secret in str(found)]
    return found


@pytest.mark.parametrize("cloud", [bedrock, vertex])
async def test_a_good_credential_is_valid_and_costs_ten_tokens_at_most(cloud):
    async with scripted_upstream(answer(200, MESSAGE)) as fake:
        found = await verdict(cloud(fake.url))
    assert str(found).endswith(": valid")
    assert json.loads(fake.requests[0].body)["max_tokens"] == 10
    if cloud is bedrock:
        check_signature(fake.requests[0])


@pytest.mark.parametrize(
    ("status", "name", "ok", "finding", "advice"),
    [
        (403, "AccessDeniedException", False, "invalid (permission_error: Said.)", "check its credential"),
        (403, "UnrecognizedClientException", False, "invalid (authentication_error: Said.)", "check its credential"),
        (400, "ValidationException", False, "HTTP 400 (invalid_request_error: Said.)", "[upstreams.models]"),
        (404, "ResourceNotFoundException", False, "HTTP 404 (not_found_error: Said.)", f"map {ALIAS}"),
        (429, "ThrottlingException", True, "valid, rate limited now (rate_limit_error: Said.)", "wait"),
        (503, "ServiceUnavailableException", False, "HTTP 529 (overloaded_error: Said.)", "try again later"),
    ],
)
async def test_a_refusal_says_what_to_do(status, name, ok, finding, advice):
    refusal = answer(status, b'{"message":"Said."}', b"x-amzn-errortype: " + name.encode())
    async with scripted_upstream(refusal) as aws:
        found = await verdict(bedrock(aws.url))
    assert (found.ok, found.finding) == (ok, finding)
    assert advice in found.advice


async def test_nobody_there_is_said_with_the_reason():
    found = await verdict(vertex(f"http://127.0.0.1:{refusing_port()}"))
    assert not found.ok
    assert found.finding.startswith("unreachable: ConnectError")


async def test_silence_is_given_up():
    async def script(peer: Peer) -> None:
        await peer.closed()

    async with scripted_upstream(script) as google:
        found = await verdict(vertex(google.url), chat_timeout=0.3)
    assert found.finding == "unreachable: no answer within 0.3 s"


async def test_a_credential_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    found = await verdict(vertex("http://127.0.0.1:9", access_token=None))
    assert "DefaultCredentialsError" in found.finding
    assert "credential" in found.advice


async def test_a_proxy_that_cannot_be_used_is_said():
    found = await verdict(vertex("https://vertex.example"), https_proxy="socks5://proxy.example:1080")
    assert found.finding.startswith("not asked: allowed: http://")
    assert "https_proxy" in found.advice
