"""Exceptions in the log: class, chain and places, never their text.

The text of an exception quotes what it was about: a parser the request line, a validator the body, a database driver
the parameters. The places are ours and harmless. Errors of the operating system keep the system's own words.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from structlog.typing import EventDict

_MOST_FRAMES = 15
_MOST_EXCEPTIONS = 6


def name_of(exc: BaseException) -> str:
    """Return the class of ``exc`` as people import it."""
    kind = type(exc)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def describe(exc: BaseException) -> str:
    """Return the trace of ``exc``, the one that it came from first, without any of their texts."""
    chain = list(_chain(exc))[:_MOST_EXCEPTIONS]
    return "\n".join(line for link in reversed(chain) for line in _lines(link))


def take_exc_info(_: Any, __: str, event_dict: EventDict) -> EventDict:
    """Replace ``exc_info`` of a structlog event by ``error_type`` and ``exception``."""
    exc = _exception(event_dict.pop("exc_info", None))
    if exc is not None:
        event_dict["error_type"] = name_of(exc)
        event_dict["exception"] = describe(exc)
    return event_dict


def _exception(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None


def _chain(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [exc]
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            waiting.extend(link.exceptions)
        origin = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        if origin is not None:
            waiting.append(origin)


def _lines(exc: BaseException) -> Iterator[str]:
    said = _system_words(exc)
    yield f"{name_of(exc)}: {said}" if said else name_of(exc)
    frames = list(traceback.walk_tb(exc.__traceback__))
    for frame, line in frames[-_MOST_FRAMES:]:
        yield f"  {frame.f_globals.get('__name__', '?')}:{line} {frame.f_code.co_name}"


def _system_words(exc: BaseException) -> str:
    if isinstance(exc, ssl.SSLError):
        return str(getattr(exc, "reason", None) or "")  # set by OpenSSL, not by __init__
    if isinstance(exc, socket.gaierror):
        return str(exc.strerror or "")
    if isinstance(exc, OSError) and exc.errno:
        return os.strerror(exc.errno)
    return ""
