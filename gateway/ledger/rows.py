"""What the ledger is told of a request: at its admission, while it runs, at its end.

Every telling becomes a whole row, so that none depends on one before it having arrived: of two rows of a request the
one that knows more counts (``state``, then ``checkpoint_at``), whatever the order they come in and however often.
They are tuples because a row is handed to the database as one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, NamedTuple

Value = str | int | float | None
Row = tuple[Value, ...]


class State(IntEnum):
    """How far a row is; a higher one replaces a lower one, and never the other way round."""

    OPEN = 0
    CLAIMED = 1  # ended in the name of a worker that is gone, at its last checkpoint
    DONE = 2


class Admitted(NamedTuple):
    """What is known when a request is admitted, and does not change.

    Attributes:
        key_id: '' for anonymous callers.
        end_user: The pseudonym, never the name; '' without one.
        received_at: Unix seconds.
        day: YYYY-MM-DD of the period that the request counts in, as the limits' store said.
        worker_id: Of the process that serves it; no other has it, at any time.
    """

    request_id: str
    tenant: str
    key_id: str
    end_user: str
    model: str
    dialect: str
    route: str
    stream: bool
    received_at: float
    day: str
    worker_id: str


class Spent(NamedTuple):
    """Tokens by price class and what they cost.

    Attributes:
        cost_nano_usd: In 1e-9 US dollars.
        priced: By what: ``known``, ``override`` or ``fallback``.
        estimated: Whether any of it was not told by Claude.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_search_requests: int = 0
    cost_nano_usd: int = 0
    priced: str = "known"
    estimated: bool = False


class Answer(NamedTuple):
    """Who answered, as far as it is known. ``first_token_at`` is in Unix seconds."""

    upstream: str = ""
    attempts: int = 0
    upstream_request_id: str | None = None
    model_answered: str | None = None
    first_token_at: float | None = None


class Checkpoint(NamedTuple):
    """What a request has used by now: what counts if nothing more is heard of it. The first is the estimated input.

    Attributes:
        at: Unix seconds; of two checkpoints the later one counts.
        lease_until: Unix seconds; from then on the request may be ended by another worker.
    """

    at: float
    lease_until: float
    spent: Spent
    answer: Answer = Answer()


class Completed(NamedTuple):
    """How a request ended.

    Attributes:
        at: Unix seconds.
        kind: As in :class:`~gateway.core.outcome.Outcome`.
        counted: As how many requests it counts: as none if it failed through our fault before Claude was asked.
    """

    at: float
    spent: Spent
    answer: Answer
    kind: str
    status: int
    stop_reason: str | None = None
    error_code: str | None = None
    counted: Literal[0, 1] = 1


COLUMNS = (
    *Admitted._fields,
    "state",
    "checkpoint_at",
    "lease_until",
    *Spent._fields,
    *Answer._fields,
    "ended_at",
    "kind",
    "status",
    "stop_reason",
    "error_code",
    "counted",
)
_NOT_ENDED = (*(None,) * 5, 1)


def open_row(admitted: Admitted, checkpoint: Checkpoint) -> Row:
    """Return the row of a request that runs."""
    at, lease_until, spent, answer = checkpoint
    return (*admitted, 0, at, lease_until, *spent, *answer, *_NOT_ENDED)


def done_row(admitted: Admitted, completed: Completed) -> Row:
    """Return the row of a request that ended."""
    at, spent, answer, kind, status, stop_reason, error_code, counted = completed
    return (*admitted, 2, at, at, *spent, *answer, at, kind, status, stop_reason, error_code, counted)


def storable(row: Row) -> Row:
    """Return the row with what every database takes: no NUL in a text, no lone surrogate, no integer over 64 bits."""
    return tuple([_storable(value) if type(value) in _UNSURE else value for value in row])


_UNSURE = frozenset({str, int})
_LARGEST = 2**63 - 1


def _storable(value: Value) -> Value:
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()
    return value if value is None or abs(value) <= _LARGEST else _LARGEST
