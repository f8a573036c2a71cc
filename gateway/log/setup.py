"""Putting the log together: structlog's pipeline, the standard library's records through it, one sink.

Logging is a property of the process, as is standard output: this is the one place that sets it, and setting it again
replaces what was set before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.typing import EventDict

from gateway.core.outcome import Outcome
from gateway.log.canonical import fields_of, level_of
from gateway.log.failure import take_exc_info
from gateway.log.library import LibraryHandler
from gateway.log.redact import plain, suspicious
from gateway.log.settings import LogSettings
from gateway.log.sink import Sink

_STDOUT = 1
_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}


class Log:
    """The configured log: the request line, and what became of lines that could not be written."""

    def __init__(self, sink: Sink, library: LibraryHandler, settings: LogSettings, *, console: bool) -> None:
        self._sink = sink
        self._library = library
        self._addresses = settings.log_addresses
        self._console = console
        self._threshold = _LEVELS[settings.level]
        self._log = structlog.get_logger().bind()  # bound now: the lazy proxy would assemble it anew for every line

    @property
    def dropped(self) -> int:
        """Lines lost: standard output is closed, or nobody reads it."""
        return self._sink.dropped + self._library.failed

    def log_outcome(self, outcome: Outcome, address: str | None = None) -> None:
        """Write the one line of a request; ``address`` is left out unless ``[log] log_addresses``."""
        level = level_of(outcome)
        if _LEVELS[level] < self._threshold:
            return
        fields = fields_of(outcome, address if self._addresses else None)
        if self._console:
            getattr(self._log, level)("request", **fields)
        else:  # what structlog's pipeline makes of it, at half its price: one for every request
            self._sink.write(_json(None, level, _with_head(level, "request", fields)))

    def together(self) -> AbstractContextManager[None]:
        """Write what is logged meanwhile at the end, which is cheaper."""
        return self._sink.together()

    def flush(self, timeout: float) -> None:
        """Write what still waits, for at most ``timeout`` seconds; for the end of the process."""
        self._sink.flush(timeout)


def configure_logging(settings: LogSettings, *, tty: bool, fd: int = _STDOUT) -> Log:
    """Send all logging of the process to ``fd`` and return what requests are logged with.

    Args:
        settings: The ``[log]`` section.
        tty: Whether ``fd`` is a terminal.
        fd: Standard output unless a test says otherwise; written to directly, so flush ``sys.stdout`` before.
    """
    sink = Sink(fd, backlog=int(settings.backlog))
    console = settings.format == "console" or (settings.format == "auto" and tty)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            take_exc_info,
            _head_first,
            _Console(colors=tty) if console else _json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    library = LibraryHandler(structlog.get_logger().bind())
    _route_standard_library(library, settings.library_level)
    return Log(sink, library, settings, console=console)


def _route_standard_library(handler: LibraryHandler, level: str) -> None:
    root = logging.getLogger()
    for earlier in [h for h in root.handlers if isinstance(h, LibraryHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level.upper())


def _head_first(_: Any, level: str, event_dict: EventDict) -> EventDict:
    return _with_head(level, event_dict.pop("event", ""), event_dict)


def _with_head(level: str, event: object, fields: Mapping[str, Any]) -> EventDict:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"timestamp": f"{now[:-6]}Z", "level": level, "event": event, **fields}


def _json(_: Any, __: str, event_dict: EventDict) -> bytes:
    try:
        line = orjson.dumps(event_dict, default=_class_name, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, which a client can put into a model's name, or a huge number
        line = b""
    if line and not suspicious(line):
        return line
    return orjson.dumps(plain(event_dict), option=orjson.OPT_APPEND_NEWLINE)


def _class_name(value: object) -> str:
    return type(value).__name__


class _Console:
    """Columns for people. Control characters are escaped: a caller's text must not drive the terminal."""

    def __init__(self, *, colors: bool) -> None:
        self._render = ConsoleRenderer(colors=colors, sort_keys=False, exception_formatter=plain_traceback)

    def __call__(self, logger: Any, level: str, event_dict: EventDict) -> bytes:
        safe = {
            key: repr(value) if isinstance(value, str) and key != "exception" and not value.isprintable() else value
            for key, value in plain(event_dict).items()
        }
        return f"{self._render(logger, level, safe)}\n".encode("utf-8", "replace")
