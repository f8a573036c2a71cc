"""How a stream flowed to its client, told once at its end."""

from __future__ import annotations

from typing import NamedTuple


class Flow(NamedTuple):
    """What the relay counted of one stream.

    Attributes:
        pauses: Times the upstream was paused because the client lagged.
        paused: Seconds for which it was.
        heartbeats: Comments sent to keep the client awake.
        merged_frames: Frames that were joined to the one before, for a client that lagged.
        overheads: Seconds from a token's read to its write, sampled.
    """

    pauses: int = 0
    paused: float = 0.0
    heartbeats: int = 0
    merged_frames: int = 0
    overheads: tuple[float, ...] = ()
