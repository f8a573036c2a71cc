"""``config check --live``: one call of ten tokens to each upstream, and what its answer says about the credential.

The key is sent and never printed: whatever an upstream or a library says is shown only after the key was cut out.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from gateway.config import Config
from gateway.config.checks import needs_credential
from gateway.config.kinds import missing_extra
from gateway.upstream.proxy import proxy_for
from gateway.upstream.settings import TransportSettings, UpstreamSettings

_MAX_TOKENS = 10
_LONGEST_ANSWER = 64 * 1024  # bytes; a page of a proxy's, of which the beginning says enough
_LONGEST_TEXT = 200
_SECRET = 8  # characters; the keys of pretend Claudes are shorter


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one upstream turned out to be.

    Attributes:
        name: The upstream.
        ok: Whether the gateway can work with it.
        finding: ``valid``, ``invalid``, ``no credit``, ``unreachable``, ``rate limited`` … and the reason.
        advice: What to do next; empty when there is nothing to do.
    """

    name: str
    ok: bool
    finding: str
    advice: str = ""

    def __str__(self) -> str:
        """One line for a terminal."""
        return f"{self.name}: {self.finding}" + (f" → {self.advice}" if self.advice else "")


async def try_upstreams(config: Config) -> list[Verdict]:
    """Ask every upstream, one after the other."""
    transport = config.upstream
    timeout = aiohttp.ClientTimeout(total=transport.chat_timeout, sock_connect=transport.connect_timeout)
    try:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=transport.ca_file))
    except OSError as error:
        advice = f"upstream.ca_file is {transport.ca_file}: make it a file of certificates in PEM form"
        found = f"not asked: {error.strerror or error}"
        return [Verdict(upstream.name, ok=False, finding=found, advice=advice) for upstream in config.upstreams]
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        return [await _try(session, upstream, config.chat.model, transport) for upstream in config.upstreams]


async def _try(
    session: aiohttp.ClientSession, upstream: UpstreamSettings, model: str, transport: TransportSettings
) -> Verdict:
    key = upstream.api_key.get_secret_value()
    if needs_credential(upstream):
        return Verdict(upstream.name, ok=False, finding="invalid: it has no key", advice="set ANTHROPIC_API_KEY")
    body = {"model": model, "max_tokens": _MAX_TOKENS, "messages": [{"role": "user", "content": "Say hello."}]}
    if upstream.kind != "anthropic":
        return await _try_cloud(upstream, body, transport)
    headers = {"anthropic-version": "2023-06-01"} | ({"x-api-key": key} if key else {})
    url = str(upstream.base_url).rstrip("/") + "/v1/messages"
    try:
        way = _way(upstream, transport)
    except ValueError as error:
        advice = f"set upstream.{upstream.base_url.scheme}_proxy to a proxy that can be used, or to off"
        return Verdict(upstream.name, ok=False, finding=f"not asked: {error}", advice=advice)
    try:
        async with session.post(url, json=body, headers=headers, allow_redirects=False, **way) as response:
            answer = await response.content.read(_LONGEST_ANSWER)
            ok, finding, advice = judge(response.status, answer, model)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        ok, finding, advice = unreachable(error, transport)
    return Verdict(upstream.name, ok, _without(key, finding), advice)


def _without(key: str, text: str) -> str:
    """Cut the key out; one of a few letters, which is nobody's, only where it is a word and not a part of one."""
    if not key:
        return text
    return re.sub(re.escape(key) if len(key) >= _SECRET else rf"(?<![\w-]){re.escape(key)}(?![\w-])", "…", text)


def _way(upstream: UpstreamSettings, transport: TransportSettings) -> dict[str, Any]:
    """Return the proxy to ask through, as the gateway itself does, in aiohttp's words."""
    proxy = proxy_for(upstream.base_url, transport)
    if proxy is None:
        return {}
    told = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
    return {"proxy": f"http://{proxy}", "proxy_headers": told}


async def _try_cloud(upstream: UpstreamSettings, body: dict[str, Any], transport: TransportSettings) -> Verdict:
    if (missing := missing_extra(upstream)) is not None:
        return Verdict(upstream.name, ok=False, finding="not asked", advice=missing)
    from gateway.cli.live_cloud import ask_cloud  # noqa: PLC0415 - imports Claude's SDK, and needs an extra

    return Verdict(upstream.name, *await ask_cloud(upstream, body, transport, judge))


def judge(status: int, body: bytes, model: str) -> tuple[bool, str, str]:
    """Say what an answer means: whether it is good, what was found, and what to do."""
    parsed = _parsed(body)
    kind, text = _error(parsed)
    said = f" ({kind}: {text})" if kind else f" ({text})" if text else ""
    match status:
        case 200 if parsed.get("type") == "message":
            found = True, "valid", ""
        case 200:
            found = False, "answered 200, but not as Claude does", "check base_url: something else answers there"
        case _ if status == HTTPStatus.PAYMENT_REQUIRED or "credit balance" in text.lower():
            found = False, f"no credit{said}", "the key is right; add credit to its account"
        case 401 | 403:
            found = False, f"invalid{said}", "make a new key, or check that it may use this model, and set api_key"
        case 429:
            found = True, f"valid, rate limited now{said}", "its limits are used up at the moment; wait"
        case 404 if kind == "not_found_error":
            found = False, f"HTTP 404{said}", f"the key is right; set chat.model, which is {model}, to one it knows"
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            found = False, f"HTTP {status}{said}", "the upstream has trouble; try again later"
        case _:
            found = False, f"HTTP {status}{said}", "check base_url and chat.model"
    return found


def unreachable(error: Exception, transport: TransportSettings) -> tuple[bool, str, str]:
    """Say why no answer came."""
    reason, advice = "the request failed", "check base_url and the network"
    match error:
        case aiohttp.ClientHttpProxyError() | aiohttp.ClientProxyConnectionError():
            reason, advice = _proxy_trouble(error), "check upstream.https_proxy (or HTTPS_PROXY) and its credential"
        case aiohttp.ClientConnectorDNSError():
            reason, advice = f"no address for {error.host}", "check base_url and this machine's DNS"
        case aiohttp.ClientConnectorCertificateError():
            reason = f"its certificate is not trusted: {error.certificate_error}"
            advice = "set upstream.ca_file if a proxy or a private authority signed it"
        case aiohttp.ClientConnectorSSLError():
            reason = f"TLS failed: {error.strerror or error.os_error}"
            advice = "base_url begins with https: check that this port speaks it"
        case aiohttp.ClientConnectorError():
            reason = f"no connection to {error.host}:{error.port}: {_reason(error)}"
            advice = "check base_url and the firewall"
        case aiohttp.ConnectionTimeoutError():
            reason = f"no connection within {transport.connect_timeout:g} s"
            advice = "check base_url and the firewall"
        case TimeoutError():
            reason, advice = f"no answer within {transport.chat_timeout:g} s", "try again; raise upstream.chat_timeout"
        case aiohttp.ServerDisconnectedError():
            reason = "it closed the connection without an answer"
        case aiohttp.ClientError():
            reason = f"{type(error).__name__}: {error}"
        case _:
            return False, "invalid: the key holds characters that no header may", "set api_key to the key alone"
    return False, f"unreachable: {reason}", advice


def _proxy_trouble(error: aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused with status {error.status}"
    return f"no connection to the proxy {error.host}:{error.port}: {_reason(error)}"


def _reason(error: aiohttp.ClientConnectorError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.os_error)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {"error": {"message": body.decode("utf-8", "replace")}}
    return parsed if isinstance(parsed, dict) else {}


def _error(parsed: dict[str, Any]) -> tuple[str, str]:
    error = parsed.get("error")
    error = error if isinstance(error, dict) else {"message": error or ""}
    text = " ".join(str(error.get("message", "")).split())
    return str(error.get("type", "")), text[:_LONGEST_TEXT]


def run(config: Config) -> list[Verdict]:
    """Ask every upstream, from a command that has no loop."""
    return asyncio.run(try_upstreams(config))
