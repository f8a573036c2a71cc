"""``[limits]``: how limits are counted in the process, and what may be remembered for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.units import Seconds, TimeZone

_Many = Annotated[int, Field(ge=1)]


class LimitStoreSettings(BaseModel):
    """How limits are counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_worker: bool = Field(
        False,
        description="With server.workers above 1, let each enforce its share, the limit divided by their number and "
        "rounded down. Connections are not spread evenly, so a worker may refuse what another has room for.",
    )
    time_zone: TimeZone = Field("UTC", examples=["Europe/Paris"], description="Where days and months begin.")
    rate_hold: _Many = Field(
        4096,
        description="Most output tokens that a request holds of a limit per minute or hour while it runs; what it used "
        "counts at its end. Of limits per day and month it holds all of its max_tokens.",
    )
    warn_at: Annotated[float, Field(gt=0, le=1)] = Field(
        0.8, description="Share of a limit per day or month past which answers, log and metrics warn."
    )
    max_windows: _Many = Field(
        200_000,
        description="Windows counted at a time, one for each limit of each key, user and address seen in it (0.5 KiB "
        "each); a request that needs one more is refused, because forgetting one would lift its limit.",
    )
    max_tombstones: _Many = Field(
        20_000, description="Ended requests remembered, against late and repeated calls (150 bytes each)."
    )
    tombstone_ttl: Seconds = Field(3600.0, description="How long they are remembered; longer than the longest stream.")
