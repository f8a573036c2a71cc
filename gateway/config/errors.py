"""What is wrong with a configuration, in words that name the key, the value, and what is allowed.

Nothing here ever shows a secret: a value is quoted only where no secret can be at, or below, its key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

# pydantic's own words where they name its inner workings instead of what the operator may write.
_ALLOWED = {
    "bool_parsing": "allowed: true or false",
    "bool_type": "allowed: true or false",
    "int_parsing": "allowed: a whole number",
    "int_type": "allowed: a whole number",
    "int_from_float": "allowed: a whole number",
    "float_parsing": "allowed: a number",
    "byte_size": "allowed: a number of bytes, or a text such as 64KiB or 32MiB",
    "byte_size_unit": "allowed: a number of bytes, or a text such as 64KiB or 32MiB",
    "tuple_type": "allowed: a list",
    "dict_type": "allowed: a table of names and values",
    "model_type": "allowed: a table of keys and values",
    "string_type": "allowed: a text",
    "string_too_short": "allowed: a text that is not empty",
    "too_short": "allowed: a list with an entry at least",
    "url_parsing": "allowed: a URL such as https://api.anthropic.com",
    "url_scheme": "allowed: a URL that starts with http:// or https://",
    "missing": "this key is needed",
}
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        key: As the user wrote it: ``server.heartbeat``, ``TOKENWEIR_SERVER__HEARTBEAT`` or ``--listen``.
        where: The file, ``environment`` or ``command line``.
        text: What is wrong and what is allowed.
        value: The value as it may be shown; None where there is none to show.
    """

    key: str
    where: str
    text: str
    value: str | None = None

    def __str__(self) -> str:
        """One line: ``server.heartbeat = "soon" (config/gateway.toml): allowed: …``."""
        value = "" if self.value is None else f" = {self.value}"
        return f"{self.key}{value} ({self.where}): {self.text}" if self.key else f"{self.where}: {self.text}"


class ConfigError(Exception):
    """The configuration cannot be used. Its text is one line per problem, ready for stderr."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def shown(value: Any) -> str:
    """Write a value on one line, shortened, without the user and password of a URL."""
    text = _USERINFO.sub("", json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def allowed(error: ErrorDetails) -> str:
    """Say what the key takes, from what pydantic found."""
    if error["type"] == "literal_error":
        expected: str = error["ctx"]["expected"]
        return "allowed: " + expected.replace("'", '"')
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return _ALLOWED.get(error["type"]) or error["msg"].replace("Input should be", "allowed:", 1)
