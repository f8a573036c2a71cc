"""When the tokens of a stream came."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Timing:
    """When things happened, on the monotonic clock; None when they have not."""

    first_token: float | None = None
    first_text: float | None = None
    last_token: float | None = None
    longest: float = -1.0

    @property
    def longest_gap(self) -> float | None:
        """The longest silence between two reads with tokens."""
        return None if self.longest < 0 else self.longest

    def token(self, now: float, *, text_seen: bool) -> None:
        """Note that one read brought tokens."""
        if self.last_token is None:
            self.first_token = now
        else:
            self.longest = max(self.longest, now - self.last_token)
        self.last_token = now
        if self.first_text is None and text_seen:
            self.first_text = now
