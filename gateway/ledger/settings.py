"""``[ledger]``: how the row of each request gets to the disk."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.units import Seconds


class LedgerSettings(BaseModel):
    """The ledger of all requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout: Annotated[Seconds, Field(gt=0)] = Field(
        0.25,
        description="The first token waits so long at most for PostgreSQL to take the row; then the journal in "
        "data_dir, which has it already, is written through to the disk.",
    )
    on_failure: Literal["refuse", "serve"] = Field(
        "refuse",
        description="When neither the database nor the journal takes a request's row, as with a full disk: refuse the "
        "request with a 503, or serve it, which nobody will know the cost of after a crash.",
    )
    max_waiting: Annotated[int, Field(ge=1)] = Field(
        20_000,
        description="Rows that the journal does not take and memory keeps for the database, at most (1 KiB each); "
        "past it on_failure holds.",
    )
    flush_timeout: Seconds = Field(
        5.0,
        description="At the end of the process the database has so long to take what waits; the journal has the rest.",
    )
