"""W3C trace context (https://www.w3.org/TR/trace-context/), and the ids of requests.

- A valid ``traceparent`` is continued: its trace id, an own parent id, its sampling flags. Of versions that do not
  exist yet the known beginning is read, and version 00 is passed on.
- An invalid one starts a new trace, as the specification says, without its ``tracestate``. Without one there is
  nothing to continue: a new trace begins only where the gateway makes spans itself.
- ``tracestate`` is passed on as it came, if every member is well-formed; past 512 characters members over 128 go
  first, then those at the end, which are the oldest.
- The id of a request is always ours. What a client sends as ``X-Request-Id`` is kept beside it, for the log.
- Random digits come from an argument, as every source of chance does in this ring.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_bytes

RandomHex = Callable[[int], str]
"""Takes a number of bytes and returns twice as many hexadecimal digits, lower case."""


def random_digits(size: int) -> str:
    """Return random digits, as ``secrets.token_hex`` does at twice the price."""
    return token_bytes(size).hex()


_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KNOWN_FLAGS = 0x03  # sampled, and random trace id of level 2; the others are zero until they mean something
_UNSAMPLED, _SAMPLED = 0x00, 0x01
_KEY = r"[a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_MEMBER = re.compile(rf"(?:{_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_MAX_MEMBERS = 32
_MAX_STATE = 512
_LARGE_MEMBER = 128
# Before anything is split or matched; 32 members of any sense are far shorter.
_MAX_HEADER = 8192
_CLIENT_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace that a request belongs to.

    Attributes:
        trace_id: 32 hex digits; empty without a trace.
        traceparent: The header for the upstream, with a parent id of our own; empty without a trace.
        tracestate: The header for the upstream, empty without one.
        parent_id: 16 hex digits of the client's span; empty when the trace begins here.
    """

    trace_id: str
    traceparent: str
    tracestate: str
    parent_id: str = ""

    @property
    def span_id(self) -> str:
        """Our own span, which is the upstream's parent: 16 hex digits."""
        return self.traceparent[36:52]

    @property
    def sampled(self) -> bool:
        """Whether spans are to be kept."""
        return bool(self.traceparent) and int(self.traceparent[53:], 16) & _SAMPLED != 0


NO_TRACE = Trace("", "", "")


def trace_of(
    traceparent: str | None,
    tracestate: str | None,
    random_hex: RandomHex = random_digits,
    *,
    sampled: bool | None = None,
) -> Trace:
    """Return the trace that goes on to the upstream.

    Args:
        traceparent: The client's header.
        tracestate: The same.
        random_hex: Makes ids.
        sampled: Whether a trace that begins here is kept; None where none begins without a header.
    """
    known = None if traceparent is None else _parsed(traceparent.strip(" \t"))
    if known is not None:
        trace_id, parent_id, flags = known
        return _child(trace_id, flags, random_hex, kept_state(tracestate or ""), parent_id)
    if traceparent is None and sampled is None:
        return NO_TRACE
    return _child(_nonzero(16, random_hex), _SAMPLED if sampled else _UNSAMPLED, random_hex)


def _child(trace_id: str, flags: int, random_hex: RandomHex, tracestate: str = "", parent_id: str = "") -> Trace:
    return Trace(trace_id, f"00-{trace_id}-{_nonzero(8, random_hex)}-{flags:02x}", tracestate, parent_id)


def _nonzero(size: int, random_hex: RandomHex) -> str:
    """Return random digits; all zeros are not an id."""
    while not (digits := random_hex(size)).strip("0"):
        pass
    return digits


def _parsed(traceparent: str) -> tuple[str, str, int] | None:
    """Return trace id, parent id and flags, None if the header is not valid."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    return trace_id, parent_id, int(flags, 16) & _KNOWN_FLAGS


def kept_state(tracestate: str) -> str:
    """Return what is passed on of a ``tracestate``: all, a bounded part, or nothing of a malformed one."""
    if len(tracestate) > _MAX_HEADER:
        return ""
    members = [member for part in tracestate.split(",") if (member := part.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    if len(members) > _MAX_MEMBERS or len(keys) < len(members) or not all(map(_MEMBER.fullmatch, members)):
        return ""
    if _length(members) > _MAX_STATE:
        members = [member for member in members if len(member) <= _LARGE_MEMBER]
    while _length(members) > _MAX_STATE:
        members.pop()
    return ",".join(members)


def _length(members: list[str]) -> int:
    return sum(map(len, members)) + len(members) - 1


def new_request_id(random_hex: RandomHex = random_digits) -> str:
    """Return an id for a request: 96 random bits, told apart from Claude's by its beginning."""
    return f"req_gw{random_hex(12)}"


def client_request_id(value: str | None) -> str | None:
    """Return the client's own id of the request, if it is one that a log can hold."""
    return value if value is not None and _CLIENT_REQUEST_ID.fullmatch(value) else None
