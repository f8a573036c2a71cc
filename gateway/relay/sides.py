"""What the relay stands between: a client, a source, and the bounds of what may happen between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Client(Protocol):
    """The client's side of a stream."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the client has not taken yet, ours and the kernel's."""

    @property
    def held_bytes(self) -> int:
        """Those of them that are held by us."""

    def write(self, data: bytes, *, last: bool = False) -> bool:
        """Send; never blocks. Return whether the high-water mark is passed.

        Args:
            data: Some bytes.
            last: Whether the stream's end follows at once, so that they may wait for it.
        """

    async def drain(self) -> None:
        """Wait until the low-water mark is reached."""

    def abort(self) -> None:
        """Reset the connection."""


class Source(Protocol):
    """The upstream's side of a stream.

    Attributes:
        complete: Whether the last byte has come; ``end`` follows.
    """

    complete: bool

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """End it now."""


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Deadlines and bounds of one stream, in seconds and bytes."""

    heartbeat: float
    idle_timeout: float
    slow_client_timeout: float
    max_event: int
    stop_grace: float
    max_stream: int
    merge_after: int
