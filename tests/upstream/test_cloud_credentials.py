"""Credentials of the clouds: where they are found, and what is told when they are not."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.core.errors import (
    UpstreamCredential,
    UpstreamUnreachable,
)
from tests.support.clouds import (
    aws_stream,
    bedrock,
    chunks,
    failure,
    send,
    vertex,
)
from tests.support.scripted_upstream import HELLO, answer, scripted_upstream
from tests.support.upstreams import refusing_port, within


async def test_without_a_credential_the_operator_is_told_and_nobody_is_asked(opened, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with scripted_upstream() as aws:
        settings = bedrock(aws.url, region="eu-none-1", access_key=None, secret_key=None, session_token=None)
        error = await failure(opened(settings))
    assert type(error) is UpstreamCredential
    assert error.detail is not None
    assert error.detail.startswith("Amazon Bedrock: ")
    assert not aws.requests


async def test_awss_own_chain_is_asked_where_no_credential_is_configured(opened, monkeypatch, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = AKIDFILE\naws_secret_access_key = hush\n")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    async with scripted_upstream(aws_stream(chunks(HELLO))) as aws:
        settings = bedrock(aws.url, region="eu-file-1", access_key=None, secret_key=None, session_token=None)
        await within((await send(opened(settings))).head)
    assert "Credential=AKIDFILE/" in aws.requests[0].headers["authorization"]


async def test_a_bedrock_api_key_is_sent_as_a_bearer_token(opened):
    async with scripted_upstream(aws_stream(chunks(HELLO))) as aws:
        settings = bedrock(aws.url, access_key=None, secret_key=None, session_token=None, api_key="bedrock-hush\n")
        await within((await send(opened(settings))).head)
    assert aws.requests[0].headers["authorization"] == "Bearer bedrock-hush"


async def test_a_configured_key_wins_over_the_environments_bearer_token(opened, monkeypatch):
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "ambient")
    async with scripted_upstream(aws_stream(chunks(HELLO))) as aws:
        await within((await send(opened(bedrock(aws.url)))).head)
    assert aws.requests[0].headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")


async def test_without_googles_credentials_the_operator_is_told(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    async with scripted_upstream() as google:
        error = await failure(opened(vertex(google.url, access_token=None)))
    assert type(error) is UpstreamCredential
    assert error.detail is not None
    assert error.detail.startswith("Vertex AI: DefaultCredentialsError")


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


@pytest.fixture
def service_account(monkeypatch, tmp_path, private_key):
    """Make Google's application-default credentials those of a service account whose tokens come from some address."""

    def service_account(url: str) -> None:
        account = {"type": "service_account", "client_email": "shop@example.com", "private_key": private_key}
        (tmp_path / "key.json").write_text(json.dumps({**account, "token_uri": f"{url}/token"}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        monkeypatch.setenv("NO_PROXY", "*")

    return service_account


async def test_googles_token_is_fetched_once_with_the_application_default_credentials(opened, service_account):
    token = answer(200, b'{"access_token":"fetched","expires_in":3599,"token_type":"Bearer"}')
    async with scripted_upstream(token) as accounts, scripted_upstream(answer(200, b"{}")) as google:
        service_account(accounts.url)
        upstream = opened(vertex(google.url, access_token=None))
        for _ in range(2):
            await within((await send(upstream)).head)
    assert [request.headers["authorization"] for request in google.requests] == ["Bearer fetched"] * 2
    assert len(accounts.requests) == 1


async def test_a_token_that_cannot_be_fetched_now_is_no_fault_of_the_credential(opened, service_account, private_key):
    service_account(f"http://127.0.0.1:{refusing_port()}")
    async with scripted_upstream() as google:
        error = await failure(opened(vertex(google.url, access_token=None)))
    assert type(error) is UpstreamUnreachable
    assert error.retryable
    assert private_key.splitlines()[1] not in str(error.detail)
    assert not google.requests


async def test_a_token_that_google_refuses_is_the_operators_matter(opened, service_account):
    async with scripted_upstream(answer(400, b'{"error":"invalid_grant","error_description":"No."}')) as accounts:
        service_account(accounts.url)
        error = await failure(opened(vertex("http://127.0.0.1:9", access_token=None)))
    assert type(error) is UpstreamCredential
    assert "invalid_grant" in str(error.detail)


async def test_a_token_that_no_header_may_hold_is_not_quoted(opened):
    async with scripted_upstream() as google:
        error = await failure(opened(vertex(google.url, access_token="ya29.\nhush")))
    assert type(error) is UpstreamUnreachable
    assert "hush" not in f"{error} {error.detail}"
