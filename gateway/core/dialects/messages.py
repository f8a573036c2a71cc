"""Claude's own API, verbatim: the bytes of each event go to the client as they came.

- The request's bytes go upstream unchanged; they are read, not rewritten.
- What a plan restricts is refused here, with Claude's own error shape.
- A repeated key could mean one model to us and another to Claude, so it is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic_core import from_json

from gateway.core.call import DEFAULT_VERSION, Call, Restrictions, Summary
from gateway.core.claude import Fold
from gateway.core.errors import GatewayError, InvalidRequest, ThreadsNotOffered, UpstreamCredential
from gateway.core.pricing import PriceBook
from gateway.core.quota.worst import worst_case
from gateway.core.restrictions import (
    check_account_resources,
    check_betas,
    check_max_tokens,
    check_model,
    check_other_models,
    whole_number,
)
from gateway.core.sse import event_ends

# Of the caller's headers these describe the browser, or choose what of the operator's account is meant.
_NOT_FORWARDED = (
    "anthropic-dangerous-direct-browser-access",
    "anthropic-organization",
    "anthropic-user-profile",
    "anthropic-workspace",
)
_READ_NAMES = re.compile(rb'"(?:model|max_tokens|stream|metadata|user_id|fallbacks|tools|container|thread|file_id)"')
_FILE_ID = b'"file_id"'
# _ and a to z. The look-ahead leaves one literal byte to search for, which is ten times as fast as five.
_ESCAPED_LETTER = re.compile(rb"\\(?=u00(?:5[fF]|6[1-9a-fA-F]|7[0-9aA]))")


class MessagesEncoder:
    """Forwards one stream unchanged, and keeps the books."""

    forwards_errors = True
    merges = False  # events are Claude's: they are written together, never joined
    merged = 0

    __slots__ = ("_fold",)

    def __init__(self, fold: Fold) -> None:
        self._fold = fold

    def single(self, chunk: bytes, now_ms: float) -> bytes:  # noqa: ARG002 - the relay's interface
        """Return the bytes as they came, when they are one whole delta."""
        return chunk if self._fold.skim_single(chunk) else b""

    def feed(self, raw: bytes, events: list[bytes], now_ms: float, *, merge: bool = False) -> bytes:  # noqa: ARG002 - the same
        """Return the bytes as they came, up to an error.

        An error about the gateway's own credential is not among them; in another the credential itself is hidden.
        """
        fold = self._fold
        for number, event in enumerate(events):
            fold.skim(event)
            if fold.error is not None:
                ends = [0, *event_ends(raw)]
                if isinstance(fold.error, UpstreamCredential):
                    return raw[: ends[number]]
                last = number + 1 == len(events)
                return raw[: ends[number]] + fold.hide(raw[ends[number] : None if last else ends[number + 1]])
        return raw

    def done(self, summary: Summary, now_ms: int) -> bytes:  # noqa: ARG002 - the relay's interface
        """Return nothing: Claude's own ``message_stop`` has ended the stream."""
        return b""

    def error(self, error: GatewayError, request_id: str, now_ms: int) -> bytes:  # noqa: ARG002 - the same
        """Return an ``error`` event in Claude's shape."""
        return b"event: error\ndata: " + orjson.dumps(error_body(error, request_id)) + b"\n\n"


def error_body(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Return Claude's error shape."""
    told: dict[str, Any] = {"type": error.claude_type, "message": error.message}
    if isinstance(error, ThreadsNotOffered):
        told["details"] = {"error_code": error.code}
    return {"type": "error", "error": told, "request_id": request_id}


def forwarded_headers(headers: Mapping[str, str], allowed: Restrictions) -> dict[str, str]:
    """Return what goes upstream of a client's headers: Claude's own, never a credential.

    Raises:
        Forbidden: The plan does not include one of the betas.
        InvalidRequest: A header comes twice and says two things.
    """
    forwarded: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if not lower.startswith("anthropic-") or lower.startswith(_NOT_FORWARDED):
            continue
        if lower not in forwarded:
            forwarded[lower] = value
        elif lower == "anthropic-beta":  # several lines of one list header are one list
            forwarded[lower] += f",{value}"
        elif forwarded[lower] != value:
            raise InvalidRequest(f"{lower}: sent twice, with different values. Send one.")
    forwarded.setdefault("anthropic-version", DEFAULT_VERSION)
    if allowed.betas:
        check_betas(forwarded.get("anthropic-beta", ""), allowed)
    return forwarded


def parse_messages(
    target: str, body: bytes, headers: Mapping[str, str], allowed: Restrictions, prices: PriceBook
) -> Call:
    """Read a request to ``/v1/messages`` or ``/v1/messages/count_tokens``.

    Raises:
        InvalidRequest: It is not what Claude takes, as far as we must understand it; names the field.
        ModelNotAllowed: The plan does not include the model.
        Forbidden: The plan does not include a beta, or resources of the operator's account.
        ThreadsNotOffered: Nor a conversation that is kept there.
    """
    fields = _object(body)
    _check_unambiguous(body)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model: Field required" if model is None else "model: Input should be a valid string")
    check_model(model, allowed)
    check_other_models(fields, allowed)
    check_account_resources(fields, allowed)
    counts = target.partition("?")[0].endswith("/count_tokens")
    max_tokens = None if counts else _max_tokens(fields, allowed)
    stream = fields.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("stream: Input should be a valid boolean")
    return Call(
        method="POST",
        target=target,
        body=body,
        headers=forwarded_headers(headers, allowed),
        model=model,
        stream=bool(stream) and not counts,
        max_tokens=max_tokens,
        end_user=_end_user(fields),
        worst=None if counts else worst_case(fields, prices),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        # Of 30 MB this parser makes 7 ms of work, orjson 55 ms; and 200 levels deep is as deep as it goes.
        decoded = from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    return decoded


def _max_tokens(fields: dict[str, Any], allowed: Restrictions) -> int:
    if "max_tokens" not in fields:
        raise InvalidRequest("max_tokens: Field required")
    max_tokens = whole_number(fields["max_tokens"], "max_tokens")
    check_max_tokens(max_tokens, allowed)
    return max_tokens


def _end_user(fields: dict[str, Any]) -> str | None:
    metadata = fields.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    return user if isinstance(user, str) and user else None


def _check_unambiguous(body: bytes) -> None:
    """Refuse a key that is given twice in one object: we might read the one and Claude the other.

    For that its name must be there twice, or be spelled with escapes of plain letters, which no encoder writes. A
    ``file_id`` can hide behind a second key of any name. Only in these cases the body is read a second time.
    """
    names = _READ_NAMES.findall(body)
    suspect = len(names) > len(set(names)) or _FILE_ID in names
    # One byte is looked for first: over 30 MB without a backslash that takes 1 ms, the pattern 20.
    if suspect or (b"\\" in body and _ESCAPED_LETTER.search(body)):
        json.loads(body, object_pairs_hook=_check_keys, parse_int=str, parse_float=str)


def _check_keys(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidRequest(f"{key}: the key is given twice in one object.")
        seen.add(key)
