"""Server-sent events as the standard's text has them, written to be compared with, not to be fast.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from collections.abc import Iterator


def interpret(stream: bytes) -> list[tuple[str, str]]:
    """Return the (event type, data) that are dispatched; the type is empty where the stream gives none."""
    events: list[tuple[str, str]] = []
    event_type = data = ""
    for line in _lines(stream.decode("utf-8", "replace").removeprefix("\ufeff")):
        if line == "":
            # "If the data buffer is an empty string, set the data buffer and the event type buffer to the empty string
            # and return." Else "if the data buffer's last character is a LF, then remove" it, and dispatch.
            if data != "":
                events.append((event_type, data.removesuffix("\n")))
            event_type = data = ""
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event_type = value
        elif field == "data":
            data += value + "\n"
    # "Once the end of the file is reached, any pending data must be discarded."
    return events


def _lines(text: str) -> Iterator[str]:
    """Yield the lines that are ended, by CRLF, by a LF not after a CR, or by a CR not before a LF."""
    line = ""
    position = 0
    while position < len(text):
        if text.startswith("\r\n", position):
            yield line
            line, position = "", position + 2
        elif text[position] in "\r\n":
            yield line
            line, position = "", position + 1
        else:
            line, position = line + text[position], position + 1
