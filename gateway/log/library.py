"""Lines of libraries, made safe.

aiohttp logs the start of a request line that it cannot parse, the event loop the arguments of a callback that failed:
pieces of prompts and keys. So of a record that a library logs, only the part that is a constant in its source is kept:
the template up to its first placeholder or value, never an argument, and of an exception what ``failure`` keeps. A
message that was formatted before it reached us is withheld, except from the libraries whose messages were read for
this; ``where`` names the line of source that says it in full.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

from gateway.log.failure import name_of

WITHHELD = "message withheld"
_MOST = 120
_VALUE = re.compile(r"[<(\[{'\"%:=\r\n]")  # where a formatted message stops to be constant
_READ = ("aiohttp", "asyncio")
_REPLACED = "aiohttp.access"  # the request line is ours to write, and this one holds the query string


class LibraryHandler(logging.Handler):
    """Passes the safe part of each record on to structlog's ``log``; never raises."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log
        self.failed = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Log what may be said of ``record``."""
        try:
            if not record.name.startswith(_REPLACED):
                self._emit(record)
        except Exception:  # noqa: BLE001 - a line that cannot be logged must not break what it is about
            self.failed += 1

    def _emit(self, record: logging.LogRecord) -> None:
        exc = record.exc_info[1] if record.exc_info else None
        fields = {"logger": record.name, "where": f"{record.module}:{record.lineno}"}
        if isinstance(exc, HttpProcessingError):  # what a scanner sends, not a fault: no trace, no alarm
            self._log.info("bad HTTP request", error_type=name_of(exc), **fields)
        else:
            self._log.log(_level(record.levelno), constant_part(record), exc_info=exc, **fields)


def constant_part(record: logging.LogRecord) -> str:
    """Return the part of the record's message that no request can have chosen."""
    known = bool(record.args) or record.name.partition(".")[0] in _READ
    if not known or not isinstance(record.msg, str):
        return WITHHELD
    text = _VALUE.split(record.msg, maxsplit=1)[0].strip().removesuffix(" from")
    return text[:_MOST] or WITHHELD


def _level(levelno: int) -> int:
    return min(max(levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
