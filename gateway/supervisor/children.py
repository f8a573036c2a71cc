"""Every child process ends here: nothing stays a zombie, also not what is left to us as process 1 of a container."""

from __future__ import annotations

import os
from collections.abc import Callable


class Children:
    """Who is told of the end of which process."""

    def __init__(self) -> None:
        self._ended: dict[int, Callable[[int], None]] = {}

    def watch(self, pid: int, ended: Callable[[int], None]) -> None:
        """Have ``ended`` called with the exit status, or with the negative number of a signal."""
        self._ended[pid] = ended

    def reap(self) -> None:
        """Take notice of all that have ended; call it on SIGCHLD."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            ended = self._ended.pop(pid, None)
            if ended is not None:
                ended(os.waitstatus_to_exitcode(status))
