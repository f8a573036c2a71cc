"""What the clouds say when they refuse, in Claude's words: a status and an error object of Claude's kinds.

- Bedrock names an error (``ThrottlingException``, in a header or in the stream), Vertex has its HTTP status alone. The
  status that we tell is the one that Claude has for that kind of error, so that retries and clients act as with Claude.
- A body that is in Claude's shape already is left as it is; of any other only the sentence for people is taken.
- What names the operator's account is taken out of sentences that clients see. Credentials are taken out of all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from gateway.core.claude import STATUS_OF_TYPE, TYPE_OF_STATUS, load_json, well_formed
from gateway.upstream.hiding import Secrets

_RATE = (429, "rate_limit_error")
_OVERLOADED = (529, "overloaded_error")
_FAULT = (500, "api_error")
_CREDENTIAL = (401, "authentication_error")
_TIMEOUT = (504, "timeout_error")
_INVALID = (400, "invalid_request_error")

# Names without "Exception", in lower case: a stream and a header write them differently.
_BEDROCK = {
    "accessdenied": (403, "permission_error"),
    "expiredtoken": _CREDENTIAL,
    "incompletesignature": _CREDENTIAL,
    "internalfailure": _FAULT,
    "internalserver": _FAULT,
    "invalidclienttokenid": _CREDENTIAL,
    "invalidsignature": _CREDENTIAL,
    "missingauthenticationtoken": _CREDENTIAL,
    "modelerror": _FAULT,
    "modelnotready": _OVERLOADED,
    "modelstreamerror": _FAULT,
    "modeltimeout": _TIMEOUT,
    "requestexpired": _CREDENTIAL,
    "resourcenotfound": (404, "not_found_error"),
    "servicequotaexceeded": _RATE,
    "serviceunavailable": _OVERLOADED,
    "signaturedoesnotmatch": _CREDENTIAL,
    "throttling": _RATE,
    "toomanyrequests": _RATE,
    "unrecognizedclient": _CREDENTIAL,
    "validation": _INVALID,
}
# What clouds' proxies and Google answer with; 424 is Bedrock's for a model that failed.
_BY_STATUS = {408: _TIMEOUT, 424: _FAULT, 503: _OVERLOADED}
_CREDENTIAL_STATUSES = frozenset({401, 403})
_SERVER_ERROR = 500
_ACCOUNT = re.compile(r"arn:aws[\w-]*:[^\s'\"`,]+|projects/[^/\s'\"`,]+")
_LONGEST = 1000


def refusal_of(status: int, name: str) -> tuple[int, str]:
    """Return Claude's status and error type for a cloud's status, and the name of the error where it has one."""
    # ThrottlingException:http://internal.amazon.com/coral/..., or com.amazon...#ThrottlingException
    plain = name.partition(":")[0].rpartition("#")[2].lower().removesuffix("exception")
    found = _BEDROCK.get(plain) or _BY_STATUS.get(status)
    if found is None:
        fallback = "api_error" if status >= _SERVER_ERROR else "invalid_request_error"
        found = status, TYPE_OF_STATUS.get(status, fallback)
    return found


def body_of(body: bytes, status: int, kind: str, secrets: Collection[str]) -> bytes:
    """Return the body of an error in Claude's shape.

    Args:
        body: The cloud's own, or its beginning.
        status: Claude's status for it.
        kind: Claude's type for it.
        secrets: What must not be in it.
    """
    try:
        decoded = load_json(body)
    except ValueError:
        decoded = None
    if _is_claudes(decoded):
        return hidden(body.decode("utf-8", "replace"), secrets).encode()
    text = hidden(_sentence(decoded), secrets)
    if status not in _CREDENTIAL_STATUSES:  # those are for the operator, who needs to know which account it is about
        text = _ACCOUNT.sub("…", text)
    return error_of(kind, text or f"The cloud answered with status {status}.")


def event_of(name: str, body: bytes | str) -> bytes:
    """Return Claude's error object for an exception in the middle of a stream."""
    status, kind = refusal_of(_SERVER_ERROR, name)
    return body_of(body.encode() if isinstance(body, str) else body, status, kind, ())


def error_of(kind: str, message: str) -> bytes:
    """Return an error object in Claude's shape."""
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": well_formed(message)[:_LONGEST]}})


def hidden(text: str, secrets: Collection[str]) -> str:
    """Return the text without the secrets."""
    return Secrets(*secrets).hide(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def headers_of(headers: Mapping[str, str], media_type: str) -> dict[str, str]:
    """Return what is kept of a cloud's headers: what retries and clients go by, never the operator's account.

    Args:
        headers: As they came; names in any case.
        media_type: The content type to tell instead of the cloud's.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    kept = {name: lower[name] for name in _KEPT if name in lower}
    if "request-id" not in kept and "x-amzn-requestid" in lower:
        kept["request-id"] = lower["x-amzn-requestid"]
    return kept | {"content-type": media_type}


_KEPT = ("content-encoding", "request-id", "retry-after", "retry-after-ms", "x-should-retry")


def _sentence(decoded: Any) -> str:
    """Find the sentence for people: Bedrock's ``message``, or Google's ``error.message``, which may be in a list."""
    if isinstance(decoded, list) and decoded:
        decoded = decoded[0]
    if not isinstance(decoded, dict):
        return ""
    error = decoded.get("error")
    within = error if isinstance(error, dict) else decoded
    text = within.get("message", within.get("Message"))
    if not isinstance(text, str):
        return ""
    # AWS explains a wrong signature by what was signed, the session's token included; that begins a new paragraph.
    return text.partition("\n")[0].strip()


def _is_claudes(decoded: Any) -> bool:
    error = decoded.get("error") if isinstance(decoded, dict) else None
    return (
        isinstance(error, dict)
        and decoded.get("type") == "error"
        and error.get("type") in STATUS_OF_TYPE
        and isinstance(error.get("message"), str)
    )
