"""An event loop whose time passes as soon as nothing is left to do: an hour of silence takes no time, and is exact.

For what has no sockets: whoever waits for one on this loop waits for ever.
"""

from __future__ import annotations

import asyncio
import selectors


class _Impatient(selectors.DefaultSelector):
    """Does not wait; says how long it would have."""

    skipped = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout:
            self.skipped += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time, which begins at 1000."""

    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)
        self.timers_set = 0

    def call_at(self, when, callback, *args, context=None):
        self.timers_set += 1
        return super().call_at(when, callback, *args, context=context)

    def time(self) -> float:
        return 1000.0 + self._impatient.skipped
