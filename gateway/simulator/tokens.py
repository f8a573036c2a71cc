"""Tokens as the pretend Claude counts them: a token is a short piece of a word with the space before it.

``"".join(split(text)) == text`` for every text; the counts only have to be plausible, and the same each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# East Asian scripts have no spaces: one character is one token there, as Claude's own tokenizer roughly has it.
_WIDE = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PIECE = re.compile(rf"\s*(?:[{_WIDE}]|(?:(?![{_WIDE}])\w){{1,7}}|[^\w\s]{{1,3}})|\s+")
_JSON_PIECE = 8  # characters of tool input per delta, as recorded
_BYTES_PER_TOKEN = 4
_PER_MESSAGE = 4
_PER_TOOL = 60
_PER_IMAGE = 1600
_DOCUMENT_BYTES_PER_TOKEN = 40


def split(text: str) -> tuple[str, ...]:
    """Cut a text into tokens."""
    return tuple(_PIECE.findall(text))


def split_json(text: str) -> tuple[str, ...]:
    """Cut a tool's input into the pieces in which it is sent."""
    return tuple(text[at : at + _JSON_PIECE] for at in range(0, len(text), _JSON_PIECE))


def count_text(text: str) -> int:
    """Estimate the tokens of a text of the request."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def count_part(part: Any) -> int:
    """Estimate the tokens of any JSON value of a request: its texts, with media by their own measure."""
    if isinstance(part, str):
        return count_text(part)
    if isinstance(part, Mapping):
        return _count_object(part)
    if isinstance(part, Iterable):
        return sum(map(count_part, part))
    return 1


def _count_object(part: Mapping[str, Any]) -> int:
    if part.get("type") == "image":
        return _PER_IMAGE
    if part.get("type") == "base64":
        return len(str(part.get("data", ""))) // _DOCUMENT_BYTES_PER_TOKEN
    own = _PER_TOOL if "input_schema" in part else _PER_MESSAGE if "role" in part else 0
    return own + sum(count_part(value) for key, value in part.items() if key not in {"type", "role", "cache_control"})
