"""The languages of the pretend Claude, read from ``phrasebook.toml`` beside this file; what it holds is said there."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Topic:
    """Answers to one kind of question."""

    pattern: re.Pattern[str]
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Language:
    """One language's topics and turns of phrase.

    Attributes:
        hints: Words that give the language away; matched whole.
        topics: In the order in which they are tried.
        generic: Answers when no topic fits.
        tool: Said before a tool is used.
        result: Said when a tool has answered.
        image: Said when the question brings an image.
        thinking: The thoughts before the answer.
    """

    hints: frozenset[str]
    topics: tuple[Topic, ...]
    generic: tuple[str, ...]
    tool: str
    result: str
    image: str
    thinking: str


def _language(entry: dict[str, Any]) -> Language:
    return Language(
        hints=frozenset(entry["hints"].split()),
        topics=tuple(
            Topic(re.compile(topic["pattern"], re.IGNORECASE), tuple(topic["answers"])) for topic in entry["topics"]
        ),
        generic=tuple(entry["generic"]),
        **{name: entry[name] for name in ("tool", "result", "image", "thinking")},
    )


_BOOK = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
ENGLISH, FRENCH, GERMAN, SPANISH, CHINESE = (
    _language(_BOOK[name]) for name in ("english", "french", "german", "spanish", "chinese")
)
# In the order that settles a tie; Chinese is known by its script, not by hints.
LANGUAGES = (ENGLISH, FRENCH, GERMAN, SPANISH)
