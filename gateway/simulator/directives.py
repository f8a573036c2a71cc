"""The mini-language in which a caller asks for a pace or for a fault: ``status=529; retry-after=2; count=1``.

Rules: ``name=value`` pairs between semicolons; names are those of :class:`Directives` with dashes; durations and sizes
are written as in the configuration (``300ms``, ``10MB``). A text comes from the header ``x-sim-fault``, from a marker
``[[sim: ...]]`` in the last user message (so it works through a gateway and from a browser), or from the command line.
Positions (``...-after=N``) count content deltas; 0 means: after the headers, before the first event.
Pure: what is asked for, not how it is done.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError

from gateway.core.units import Seconds

MAX_TOKENS = 1_000_000
_MARKER = re.compile(r"\[\[\s*sim\s*:(.*?)\]\]", re.DOTALL)
_BARE = {"gzip": "true", "drip-headers": "2s"}

Position = Annotated[int, Field(ge=0, le=MAX_TOKENS)]


class Directives(BaseModel):
    """Everything that one request can ask for; a field that is None was not asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=lambda name: name.replace("_", "-"))

    tokens_per_second: Annotated[float, Field(ge=0, le=1e6)] | None = Field(None, description="Pace; 0 = no waiting.")
    time_to_first_token: Seconds | None = Field(None, description="Request to first content delta.")
    jitter: Seconds | None = Field(None, description="Each token comes up to this much late.")
    tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = Field(None, description="Length of the answer's text.")
    text: str | None = Field(None, description="The answer, word for word.")
    thinking_silence: Seconds | None = Field(None, description="Silence (but for pings) before the first delta.")
    ping_interval: Seconds | None = Field(None, description="A ping after so much silence; 0 = only the first one.")
    stop_reason: Literal["end_turn", "max_tokens", "refusal", "pause_turn", "model_context_window_exceeded"] | None = (
        Field(None, description="The stop_reason to end with.")
    )
    replay: str | None = Field(None, description="A recording of --replay-dir that answers instead.")
    chunk_size: Annotated[int, Field(ge=-1)] | None = Field(
        None, description="Bytes per write; 0 = one event per write, -1 = the whole answer in one."
    )

    status: Annotated[int, Field(ge=400, le=599)] | None = Field(None, description="Answer with this error status.")
    error: Annotated[str, Field(pattern=r"^\w+$")] | None = Field(None, description="Claude's name of the error.")
    message: str | None = Field(None, description="The error's sentence.")
    retry_after: Seconds | None = Field(None, description="The retry-after header, in seconds.")
    should_retry: bool | None = Field(None, description="The x-should-retry header.")
    slow_headers: Seconds | None = Field(None, description="Wait so long before the status line.")
    drip_headers: Seconds | None = Field(None, description="Send the headers in drops over this time (bare: 2 s).")
    content_type: Annotated[str, Field(pattern=r"^[\w.+/-]+$")] | None = Field(
        None, description="Another Content-Type; with a status and text/html the body is a proxy's error page."
    )
    gzip: bool | None = Field(None, description="Compress the answer, though nobody asked for it.")
    error_after: Position | None = Field(None, description="An error event after N deltas, then the end.")
    cut_after: Position | None = Field(None, description="Close the connection after N deltas, mid-body.")
    end_after: Position | None = Field(None, description="End the body cleanly after N deltas, without message_stop.")
    reset_after: Position | None = Field(None, description="Reset the connection (TCP RST) after N deltas.")
    stall_after: Position | None = Field(None, description="Silence after N deltas, without pings.")
    stall: Seconds | None = Field(None, description="How long stall-after lasts; without it, for ever.")
    garbage_after: Position | None = Field(None, description="An event that is not JSON after N deltas, then go on.")
    unknown_after: Position | None = Field(None, description="An event of a type nobody knows after N, then go on.")
    giant_event: Annotated[ByteSize, Field(ge=1, le=1 << 30)] | None = Field(
        None, description="One text delta of this size, then go on."
    )
    giant_after: Position | None = Field(None, description="Where the giant event comes: after N deltas (1).")

    count: Annotated[int, Field(ge=1)] | None = Field(None, description="Only the first N requests of this id fail.")
    id: str | None = Field(None, description="What count counts by; without it, the directives themselves.")
    probability: Annotated[float, Field(ge=0, le=1)] | None = Field(None, description="Share of requests that fail.")


NONE = Directives()
# What stays in force when ``count`` is used up or ``probability`` spares the request: the pace, not the faults.
_PACE = frozenset(
    [
        "tokens_per_second",
        "time_to_first_token",
        "jitter",
        "tokens",
        "text",
        "thinking_silence",
        "ping_interval",
        "stop_reason",
        "chunk_size",
        "replay",
    ]
)


class BadDirectives(ValueError):
    """A text that is not in the language; the message says what is allowed."""


def names() -> list[str]:
    """Every name of the language, in the order of the documentation."""
    return [field.alias or name for name, field in Directives.model_fields.items()]


def parse(text: str) -> Directives:
    """Return what ``text`` asks for; raises :class:`BadDirectives`."""
    pairs = dict(_pair(part) for part in text.split(";") if part.strip())
    try:
        return Directives.model_validate(pairs)
    except ValidationError as exc:
        raise BadDirectives(_explain(exc)) from None


def _pair(part: str) -> tuple[str, str]:
    name, equals, value = (piece.strip() for piece in part.partition("="))
    if equals:
        return name, value
    if name in _BARE:
        return name, _BARE[name]
    raise BadDirectives(f"'{name}' needs a value, as in status=529; {_allowed()}")


def _explain(exc: ValidationError) -> str:
    first = exc.errors(include_url=False)[0]
    name = first["loc"][0]
    if first["type"] == "extra_forbidden":
        return f"there is no directive '{name}'; {_allowed()}"
    field = next(field for field in Directives.model_fields.values() if field.alias == name)
    return f"{name}={first['input']}: {first['msg'].removeprefix('Value error, ')}. {field.description}"


def _allowed() -> str:
    return "allowed are " + ", ".join(names())


def split_marker(text: str) -> tuple[str, str]:
    """Return ``text`` without its ``[[sim: ...]]`` markers, and what stood in them, joined."""
    found = ";".join(_MARKER.findall(text))
    return (_MARKER.sub("", text).strip(), found) if found else (text, "")


def merge(*layers: Directives) -> Directives:
    """Put later layers over earlier ones, name by name."""
    values: dict[str, object] = {}
    for layer in layers:
        values |= {name: getattr(layer, name) for name in layer.model_fields_set}
    return Directives.model_construct(_fields_set=set(values), **values)  # type: ignore[arg-type]  # validated before


def without_faults(asked: Directives) -> Directives:
    """Keep only the pace and the text that were asked for."""
    values = {name: getattr(asked, name) for name in asked.model_fields_set & _PACE}
    return Directives.model_construct(_fields_set=set(values), **values)
