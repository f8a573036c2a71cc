"""Plans: named sets of limits that a tenant, a key, or an anonymous mapping is given.

A limit that is absent is no limit. The limits at the top of a plan hold for its owner as a whole; those under
``per_key``, ``per_user`` and ``per_address`` hold for each key, end user and client address of the owner.

- A minute and an hour are any 60 seconds and any 3600; a day and a month are the calendar's, in ``limits.time_zone``.
- Tokens are all that Claude counts: input with what the prompt cache read and wrote, output with its thinking.
- Dollars are what the gateway's price table makes of them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.units import Seconds

Count = Annotated[int, Field(ge=1)]
# A million dollars, counted in billionths, is far below what a double holds exactly; some stores count in doubles.
Dollars = Annotated[float, Field(ge=0.000_001, le=1_000_000, allow_inf_nan=False)]

_UNITS = {
    "requests": "Requests",
    "input_tokens": "Input tokens, cached ones included,",
    "output_tokens": "Output tokens, thinking included,",
    "tokens": "Input and output tokens together",
    "usd": "US dollars",
}
_SPANS = {
    "minute": "in any 60 seconds.",
    "hour": "in any hour.",
    "day": "in a calendar day.",
    "month": "in a calendar month.",
}


def _limit(name: str, example: float) -> Any:
    unit, _, span = name.partition("_per_")
    return Field(None, examples=[example], description=f"{_UNITS[unit]} {_SPANS[span]}")


class Limits(BaseModel):
    """What one scope may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: Count | None = _limit("requests_per_minute", 60)
    requests_per_hour: Count | None = _limit("requests_per_hour", 1_000)
    requests_per_day: Count | None = _limit("requests_per_day", 10_000)
    requests_per_month: Count | None = _limit("requests_per_month", 100_000)
    input_tokens_per_minute: Count | None = _limit("input_tokens_per_minute", 400_000)
    input_tokens_per_hour: Count | None = _limit("input_tokens_per_hour", 4_000_000)
    input_tokens_per_day: Count | None = _limit("input_tokens_per_day", 20_000_000)
    input_tokens_per_month: Count | None = _limit("input_tokens_per_month", 200_000_000)
    output_tokens_per_minute: Count | None = _limit("output_tokens_per_minute", 80_000)
    output_tokens_per_hour: Count | None = _limit("output_tokens_per_hour", 800_000)
    output_tokens_per_day: Count | None = _limit("output_tokens_per_day", 4_000_000)
    output_tokens_per_month: Count | None = _limit("output_tokens_per_month", 40_000_000)
    tokens_per_minute: Count | None = _limit("tokens_per_minute", 480_000)
    tokens_per_hour: Count | None = _limit("tokens_per_hour", 4_800_000)
    tokens_per_day: Count | None = _limit("tokens_per_day", 24_000_000)
    tokens_per_month: Count | None = _limit("tokens_per_month", 240_000_000)
    usd_per_minute: Dollars | None = _limit("usd_per_minute", 1)
    usd_per_hour: Dollars | None = _limit("usd_per_hour", 5)
    usd_per_day: Dollars | None = _limit("usd_per_day", 10)
    usd_per_month: Dollars | None = _limit("usd_per_month", 50)
    concurrent_streams: Count | None = Field(None, examples=[10], description="Requests in flight at the same time.")


class Plan(Limits):
    """Limits of an owner, and of the parts it is made of."""

    max_output_tokens: Count | None = Field(
        None,
        examples=[8192],
        description="Highest max_tokens of a request: refused past it on Claude's routes, clamped on the chat route.",
    )
    models: tuple[str, ...] | None = Field(
        None,
        examples=[["claude-*"]],
        description='Patterns of the models allowed, as in ["claude-haiku-*"]; absent allows all.',
    )
    betas: tuple[str, ...] | None = Field(
        None,
        examples=[["prompt-caching-*"]],
        description="Patterns of the anthropic-beta values allowed; absent allows all.",
    )
    account_resources: bool = Field(
        False,
        description="Whether requests may name file_id and container, which belong to the operator's whole account.",
    )
    allow_unbounded: bool = Field(
        False,
        description="With a limit of dollars: whether requests may use what has no highest price that can be told "
        "before, such as a web search without max_uses. What they cost is counted, and can pass the limit.",
    )
    per_key: Limits = Field(Limits(), description="For each key.")
    per_user: Limits = Field(Limits(), description="For each end user (metadata.userId, metadata.user_id).")
    per_address: Limits = Field(Limits(), description="For each client address (IPv6 by /64).")


class AnonymousDefault(BaseModel):
    """The limit per client address of an anonymous plan that sets none: the one limit that is there unasked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: Count = Field(10, description="Requests of one client address in any window. Also RATE_LIMIT_MAX.")
    window: Annotated[Seconds, Field(gt=0)] = Field(
        60.0, description="Length of the window. Also RATE_LIMIT_WINDOW, which is in milliseconds."
    )
