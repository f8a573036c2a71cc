"""What a client's request comes down to: one call of Claude's API, whatever the client spoke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.core.errors import GatewayError
from gateway.core.outcome import Usage
from gateway.core.quota.holds import LimitState
from gateway.core.quota.worst import Worst

# Of Claude's API, for callers that name none.
DEFAULT_VERSION = "2023-06-01"


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What the caller's plans allow, as far as it concerns the content of a request.

    Attributes:
        models: Per plan, the patterns of models allowed; a plan without patterns is absent.
        betas: The same for ``anthropic-beta``.
        max_output_tokens: Highest ``max_tokens``, None for no limit.
        account_resources: Whether ``file_id`` and ``container`` may be named.
        unbounded: Whether a limit in dollars lets pass what has no highest price.
    """

    models: tuple[tuple[str, ...], ...] = ()
    betas: tuple[tuple[str, ...], ...] = ()
    max_output_tokens: int | None = None
    account_resources: bool = True
    unbounded: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """One request to Claude.

    Attributes:
        method: HTTP method.
        target: Path and query on Claude's side.
        body: JSON as it is sent; empty for GET.
        headers: What goes upstream beside our own: version, betas.
        model: Model asked for, empty where there is none.
        stream: Whether the answer is a stream of events.
        max_tokens: Most output tokens, None where there is none.
        end_user: The application's user as the request names it, None without.
        thinking: Whether the client wants thinking shown.
        worst: The most that it can cost; None where nothing is generated.
    """

    method: str
    target: str
    body: bytes
    headers: Mapping[str, str]
    model: str = ""
    stream: bool = False
    max_tokens: int | None = None
    end_user: str | None = None
    thinking: bool = False
    worst: Worst | None = None

    @property
    def entered_tokens(self) -> int:
        """Input tokens, as they are estimated."""
        return 0 if self.worst is None else self.worst.entered_tokens


@dataclass(frozen=True, slots=True)
class Summary:
    """What a client is told at the end of a good answer. Times are in milliseconds from the request's arrival."""

    request_id: str
    model: str | None
    stop_reason: str | None
    usage: Usage | None
    time_to_first_token_ms: int | None
    duration_ms: int
    tokens_per_second: float | None
    cost_usd: float | None
    quota: tuple[LimitState, ...] = ()


class Encoder(Protocol):
    """Claude's events in, the client's frames out; one for each stream.

    Attributes:
        forwards_errors: Whether Claude's own error events are among the bytes that ``feed`` returns.
        merges: Whether it can join the frames of one read.
        merged: Frames that were joined to the one before.
    """

    forwards_errors: bool
    merges: bool
    merged: int

    def single(self, chunk: bytes, now_ms: float) -> bytes:
        """Return what goes to the client for a read that is one whole content delta and nothing else, as most are.

        Nothing when it is anything else, or may be: nothing was taken then, and ``feed`` is to take it.

        Args:
            chunk: What came, at the beginning of an event.
            now_ms: Unix time in milliseconds.
        """

    def feed(self, raw: bytes, events: list[bytes], now_ms: float, *, merge: bool = False) -> bytes:
        """Return what goes to the client for these events.

        Args:
            raw: The events as they came, blank lines included.
            events: The same events one by one, without their blank lines.
            now_ms: Unix time in milliseconds.
            merge: Whether frames may be joined, because the client lags.
        """

    def done(self, summary: Summary, now_ms: int) -> bytes:
        """Return the frame that ends a good answer, if the dialect has one."""

    def error(self, error: GatewayError, request_id: str, now_ms: int) -> bytes:
        """Return the frame that ends a bad answer."""
