"""Where lines go: a file descriptor that may be slow, full or closed.

Rules of this file: a write never waits and never raises. The descriptor is asked first whether it takes a piece (at
most ``PIPE_BUF`` bytes, which a pipe that is ready takes whole); what it does not take waits here, in order, up to
``backlog`` bytes, and goes out with the next line. Past that, and when the descriptor is closed, lines are dropped and
counted. No writer thread: handing lines over costs more than the two system calls, and loses the last ones in a crash.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

_PIECE = select.PIPE_BUF


class Sink:
    """Takes lines for ``fd``; safe to call from any thread, and from a finalizer in the middle of a call."""

    def __init__(self, fd: int, *, backlog: int) -> None:
        self._fd = fd
        self._backlog = backlog
        self._ready = select.poll()
        self._ready.register(fd, select.POLLOUT)
        self._lines: deque[bytes] = deque()
        self._size = 0
        # Re-entrant: the garbage collector may run a finalizer that logs while the lock is held.
        self._lock = threading.RLock()
        self._writing = False
        self._gathering = 0
        self.dropped = 0

    def write(self, line: bytes) -> None:
        """Write ``line`` now, or when the descriptor takes it; or drop and count it."""
        with self._lock:
            if self._size + len(line) > self._backlog:
                self.dropped += 1
            else:
                self._lines.append(line)
                self._size += len(line)
            if not self._gathering or self._size >= _PIECE:
                self._drain(0)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write the lines that come meanwhile when they are a piece, and what is left at the end."""
        with self._lock:
            self._gathering += 1
        try:
            yield
        finally:
            with self._lock:
                self._gathering -= 1
                self._drain(0)

    debug = info = warning = error = critical = write  # structlog calls its logger by the level's name

    def flush(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for the lines that still wait here; for the end of the process only."""
        end = time.monotonic() + timeout
        with self._lock:
            while self._lines and (left := end - time.monotonic()) > 0:
                self._drain(left)

    def _drain(self, timeout: float) -> None:
        if self._writing:
            return
        self._writing = True
        try:
            while self._lines and self._ready.poll(timeout * 1000):
                self._write_piece()
        except BlockingIOError:  # someone made the descriptor non-blocking, and a piece was too much for it
            pass
        except OSError:
            self.dropped += len(self._lines)
            self._lines.clear()
            self._size = 0
        finally:
            self._writing = False

    def _write_piece(self) -> None:
        """Write as many lines as are one piece, or a piece of one."""
        piece = self._lines[0][:_PIECE]
        for number in range(1, len(self._lines)):  # a finalizer may add lines meanwhile
            line = self._lines[number]
            if len(piece) + len(line) > _PIECE:
                break
            piece += line
        written = os.write(self._fd, piece)
        self._size -= written
        while written >= len(self._lines[0]):
            written -= len(self._lines.popleft())
            if not written:
                return
        self._lines[0] = self._lines[0][written:]
