"""``[metrics]``: the bounds that keep a scrape small, whatever callers send."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.units import Seconds


class MetricsSettings(BaseModel):
    """Metrics on the operators' address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tenants: Annotated[int, Field(ge=0)] = Field(
        1000, description="Tenants with counters of their own (three series each); those met later count as other."
    )
    max_models: Annotated[int, Field(ge=0)] = Field(
        50, description="Models with series of their own (about 100 each); the rest count as other."
    )
    lag_interval: Annotated[Seconds, Field(ge=0.01)] = Field(
        0.25, description="How often the event loop's lag is sampled; one sample costs about 10 µs."
    )
