"""Identifiers in Claude's form, reproducible: the n-th of a process with the same seed is the same."""

from __future__ import annotations

import base64
import random

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SIGNATURE_BYTES = 180


class Ids:
    """One source of identifiers.

    Args:
        seed: Equal seeds give equal sequences.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - identifiers of a test tool, reproducible on purpose

    def request(self) -> str:
        """A value of the header ``request-id``."""
        return "req_011C" + self._draw(20)

    def message(self) -> str:
        """The id of a message."""
        return "msg_01" + self._draw(22)

    def tool_use(self) -> str:
        """The id of a ``tool_use`` block."""
        return "toolu_01" + self._draw(22)

    def signature(self) -> str:
        """A signature of thinking; opaque, as Claude's are."""
        return base64.b64encode(self._random.randbytes(_SIGNATURE_BYTES)).decode()

    def trace(self) -> str:
        """A value of the header ``traceresponse``."""
        return f"00-{self._random.randbytes(16).hex()}-{self._random.randbytes(8).hex()}-01"

    def _draw(self, length: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=length))
