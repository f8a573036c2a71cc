"""Plans: named sets of limits that a tenant, a key, or an anonymous mapping is given.

A limit that is absent is no limit. The limits at the top of a plan hold for its owner as a whole; those under
``per_key``, ``per_user`` and ``per_address`` hold for each key, end user and client address of the owner.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.units import Seconds

Count = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """What one scope may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: Count | None = Field(None, examples=[60], description="Requests in any 60 seconds.")
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
