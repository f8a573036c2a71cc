"""The garbage collector of a process that serves."""

from __future__ import annotations

import gc

# A request makes some hundred objects that the collector counts, and nearly all of them are gone without it. With the
# default of 700 it looks at every few requests, for a twentieth of the processor's time; cycles wait a little longer.
_THRESHOLDS = 10_000, 20, 20


def look_seldom() -> None:
    """Have the collector look as often as a server needs it."""
    gc.set_threshold(*_THRESHOLDS)
