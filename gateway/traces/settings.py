"""``[traces]``: where spans go."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, HttpUrl

from gateway.core.units import Seconds


class TracesSettings(BaseModel):
    """Spans for an OpenTelemetry collector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: HttpUrl | None = Field(
        None,
        examples=["http://127.0.0.1:4318"],
        description="The collector's OTLP address over HTTP, without /v1/traces. Unset, there are no traces, and they "
        "cost nothing. Needs the extra `otel`.",
    )
    sample: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="Share of the requests without a `traceparent` that are traced; the others say so themselves."
    )
    service: str = Field("tokenweir", description="`service.name` of the spans.")
    timeout: Annotated[Seconds, Field(gt=0)] = Field(
        5.0, description="Longest wait for the collector; what it does not take by then is dropped."
    )
