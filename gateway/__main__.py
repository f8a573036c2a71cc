"""``python -m gateway`` and ``tokenweir``.

What serves imports for half a second before it can obey a signal in order. One that comes earlier ends it at once and
quietly: nothing has been begun. SIGHUP is ignored until then: what it would have read anew is not read yet. Other
commands keep Python's ways, because one that was stopped has not succeeded.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

_SERVING = ("serve", "demo", "simulate")
_RELOADING = ("serve", "demo")
_EARLY = {signal.SIGTERM: 0, signal.SIGINT: 130}


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] and sys.argv[1] in _SERVING:
        for number, code in _EARLY.items():
            signal.signal(number, partial(_end, code))
    if sys.argv[1:2] and sys.argv[1] in _RELOADING:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from gateway.cli import main as command_line  # noqa: PLC0415 - the first import that takes time

    command_line()


def _end(code: int, *_: object) -> None:
    os._exit(code)


if __name__ == "__main__":
    main()
