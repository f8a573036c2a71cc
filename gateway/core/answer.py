"""Claude's answers that are no stream: what a status and a body say, and which headers a client may see.

- A refusal of our credential is our fault towards the client: 502, and nothing of Claude's text.
- A body in Claude's error shape is kept as it came; HTML or text of a proxy on the way is replaced.
- Headers about the operator's account never reach a client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from gateway.core.claude import error_from_claude, load_json
from gateway.core.errors import GatewayError, UpstreamMalformed, UpstreamRefused
from gateway.core.retry import retry_after

OK = 200
_FIRST_ERROR = 400
_RETURNED = ("request-id", "x-should-retry", "retry-after", "anthropic-")
# Rate limits come under several names: anthropic-ratelimit-*, -priority-*, -fast-*, and what is added next.
_ACCOUNT = re.compile(r"anthropic-(organi[sz]ation|workspace|ratelimit|priority)|anthropic-.*-(limit|remaining|reset)$")


def returned_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what a client sees of the headers of Claude's answer; names are in lower case."""
    return {name: value for name, value in headers.items() if _is_returned(name)}


@lru_cache(maxsize=128)
def _is_returned(name: str) -> bool:
    """Say whether a header is for clients; there are a few dozen, again and again."""
    return name.startswith(_RETURNED) and not _ACCOUNT.match(name)


def refusal(status: int, headers: Mapping[str, str], body: bytes, unix_now: float) -> GatewayError:
    """Return the error in an answer that is not a 200."""
    if status < _FIRST_ERROR:
        return UpstreamMalformed("Claude's answer was not understood.", detail=f"unexpected status {status}")
    decoded = _decode(body)
    error = error_from_claude(decoded, status, retry_after(headers, unix_now))
    if isinstance(error, UpstreamRefused):
        error.headers = returned_headers(headers)
        error.body = body if _in_shape(decoded) else None
    return error


def message_of(body: bytes) -> dict[str, Any]:
    """Decode a whole message.

    Raises:
        UpstreamMalformed: It is not a JSON object.
        UpstreamRefused: It is an error, whatever its status said.
        UpstreamCredential: It is an error about the gateway's own credential.
    """
    decoded = _decode(body)
    if not isinstance(decoded, dict):
        raise UpstreamMalformed("Claude's answer is not a JSON object.")
    if decoded.get("type") == "error":
        raise error_from_claude(decoded)
    return decoded


def check_stream(headers: Mapping[str, str]) -> None:
    """Raise UpstreamMalformed unless the answer is a plain stream of events."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise UpstreamMalformed("Claude's answer is not a stream of events.", detail=f"content-type {kind[:80]!r}")
    if headers.get("content-encoding", "identity").lower() not in {"identity", ""}:
        raise UpstreamMalformed("Claude's answer is compressed, which was not asked for.")


def _decode(body: bytes) -> Any:
    try:
        return load_json(body)
    except ValueError:
        return None


def _in_shape(decoded: Any) -> bool:
    error = decoded.get("error") if isinstance(decoded, dict) else None
    return (
        isinstance(error, dict)
        and decoded.get("type") == "error"
        and isinstance(error.get("type"), str)
        and isinstance(error.get("message"), str)
    )
