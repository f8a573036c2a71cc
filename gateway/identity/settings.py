"""``[keys]`` and the database: where tenants and keys live and how their verification behaves."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.units import Seconds, WebOrigin


class KeySettings(BaseModel):
    """Verification of keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    refresh: Annotated[Seconds, Field(gt=0, le=4)] = Field(
        1.0,
        description="How often a worker looks for changed keys and tenants; a revocation holds everywhere after it.",
    )
    cache_size: Annotated[int, Field(ge=1)] = Field(
        100_000, description="Keys remembered by a worker (about 1 KiB each)."
    )
    max_unknown: Annotated[int, Field(ge=1)] = Field(
        10_000,
        description="Ids of keys that do not exist, remembered until any key changes, so that guessing does not reach "
        "the database (100 bytes each).",
    )
    max_lookups: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Keys that wait to be looked up, as many as requests in flight; past it 503."
    )
    read_timeout: Annotated[Seconds, Field(gt=0)] = Field(
        2.0, description="A read of keys that takes longer counts as failed; a local database answers within 10 ms."
    )
    busy_timeout: Seconds = Field(
        5.0, description="Longest wait for another process's lock on the database: changes of keys take milliseconds."
    )
    failures_per_minute: Annotated[int, Field(ge=1)] = Field(
        20, description="Failed authentications of one address in any 60 s; past it 429 before the key is looked at."
    )
    throttle_addresses: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Addresses whose failures are remembered; the oldest is forgotten first."
    )


class AnonymousSettings(BaseModel):
    """One mapping of browser origins to a tenant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origins: Annotated[tuple[WebOrigin, ...], Field(min_length=1)] = Field(
        examples=[["https://shop.example"]],
        description="Origins as browsers send them; same-origin for the gateway's own, loopback, * for any or none.",
    )
    tenant: str = Field(
        min_length=1,
        examples=["shop"],
        description="Tenant that these browsers act for; made at start if it is missing.",
    )
    plan: str = Field("default", description="Plan of these browsers, instead of the tenant's.")
