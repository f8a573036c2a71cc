"""``[limits]``: how limits are counted in the process, and what may be remembered for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.units import Seconds

_Many = Annotated[int, Field(ge=1)]


class LimitStoreSettings(BaseModel):
    """How limits are counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_worker: bool = Field(
        False,
        description="With server.workers above 1, let each enforce its share, the limit divided by their number and "
        "rounded down. Connections are not spread evenly, so a worker may refuse what another has room for.",
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
