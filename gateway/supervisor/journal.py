"""The supervisor's few log lines, in the form of the workers' ([log] format), on the same standard output.

The library that the workers log with would double the supervisor's size. A line that the output does not take at once
is dropped: the supervisor waits for nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
from datetime import UTC, datetime
from typing import Any

_STDOUT = 1
_LEVELS = ("debug", "info", "warning", "error")


class Journal:
    """Writes lines.

    Args:
        fd: Where to.
    """

    def __init__(self, fd: int = _STDOUT) -> None:
        self._fd = fd
        self._ready = select.poll()
        self._ready.register(fd, select.POLLOUT)
        self.configure("auto", "info")

    def configure(self, form: str, level: str) -> None:
        """Write lines as ``[log]`` says: in which form, and from which level on."""
        self._console = form == "console" or (form == "auto" and os.isatty(self._fd))
        self._level = level

    def info(self, event: str, **fields: Any) -> None:
        """Tell what goes as it should."""
        self._line("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Tell what an operator should know of."""
        self._line("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Tell what went wrong."""
        self._line("error", event, fields)

    def fault(self, error: BaseException) -> None:
        """Tell that we are wrong."""
        self.error("the supervisor has a fault", reason=repr(error))

    def say(self, text: str) -> None:
        """Write a line that is no log line."""
        self._write(f"{text}\n")

    def _line(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if _LEVELS.index(level) < _LEVELS.index(self._level):
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
        if self._console:
            more = " ".join(f"{name}={value!r}" for name, value in fields.items())
            self._write(f"{now} [{level:<9}] {event:<30} {more}".rstrip() + "\n")
        else:
            self._write(
                json.dumps({"timestamp": now, "level": level, "event": event, **fields}, separators=(",", ":")) + "\n"
            )

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            if self._ready.poll(0):
                os.write(self._fd, text.encode("utf-8", "replace")[: select.PIPE_BUF])
