"""The tokens that the bench's upstream sends, and the proof that all of them arrived.

A token's text is ``<number>:<nanoseconds when it was sent>| ``, so that it survives every dialect unchanged. Nothing
else in a stream holds a ``|``: counting tokens is counting that byte, however the bytes were cut.
"""

from __future__ import annotations

import re

MARK = b"|"
_NUMBER = re.compile(rb"(\d+):\d+\|")
_MOMENT = re.compile(rb":(\d+)\|")
_CLIP = 200


def moments(data: bytes) -> list[int]:
    """Return when the tokens in a piece of a stream were sent; a token that is cut in two may be left out."""
    return [int(found) for found in _MOMENT.findall(data)]


def problem(body: bytes, count: int, end: bytes) -> str | None:
    """Say what is wrong with a whole answer; None when every token came once, in order, and the end after them."""
    numbers = [int(found) for found in _NUMBER.findall(body)]
    if numbers != list(range(count)):
        return _difference(numbers, count, body)
    return None if end in body[body.rfind(MARK) + 1 :] else f"the end is missing: {clipped(body[-_CLIP:])}"


def _difference(numbers: list[int], count: int, body: bytes) -> str:
    if not numbers:
        return f"no tokens: {clipped(body)}"
    seen = set(numbers)
    missing, repeated = count - len(seen & set(range(count))), len(numbers) - len(seen)
    if missing or repeated:
        return f"{missing} tokens are missing, {repeated} came again"
    return "tokens came out of order" if numbers != sorted(numbers) else "there are more tokens than were sent"


def clipped(body: bytes) -> str:
    """Return the beginning of a body for a message."""
    return body[:_CLIP].decode("utf-8", "replace")
