"""Which text answers a question: the same for the same seed and request, readable, and about what was asked.

The system prompt is honoured lightly: it may name the answer's language, ask for brevity, or bring a context whose
sentences then are the answer (as retrieval-augmented frontends do).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import cycle, islice

from gateway.simulator.ask import Ask
from gateway.simulator.phrasebook import CHINESE, ENGLISH, FRENCH, GERMAN, LANGUAGES, SPANISH, Language
from gateway.simulator.tokens import split

_WORD = re.compile(r"[^\W\d_]+")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_FIRST_SENTENCE = re.compile(r".+?[.!?\u3002\uff01\uff1f](?=\s|$|[^\s\w])|.+", re.DOTALL)
_BRIEF = re.compile(r"\b(one|a single) (short )?sentence\b|\b(very )?(brief|concise|short)(ly)?\b", re.IGNORECASE)
_CONTEXT = re.compile(r"\bcontext\b", re.IGNORECASE)
_SPOKEN = (
    (re.compile(r"\b(in|en|auf) (French|français)\b", re.IGNORECASE), FRENCH),
    (re.compile(r"\b(in|auf) (German|Deutsch)\b", re.IGNORECASE), GERMAN),
    (re.compile(r"\b(in|en) (Spanish|español)\b", re.IGNORECASE), SPANISH),
    (re.compile(r"\bin Chinese\b|中文", re.IGNORECASE), CHINESE),
    (re.compile(r"\bin English\b", re.IGNORECASE), ENGLISH),
)
# Words that say nothing about the topic, so that a question is quoted by its other words.
_EMPTY = frozenset(
    [
        "a",
        "about",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "could",
        "do",
        "does",
        "explain",
        "for",
        "from",
        "give",
        "has",
        "have",
        "hello",
        "help",
        "hi",
        "how",
        "i",
        "in",
        "is",
        "it",
        "like",
        "make",
        "me",
        "my",
        "of",
        "on",
        "or",
        "please",
        "show",
        "tell",
        "that",
        "the",
        "this",
        "to",
        "us",
        "use",
        "want",
        "was",
        "we",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "would",
        "write",
        "you",
        "your",
        "get",
    ]
)
_LONGEST_RESULT = 300
_TOPIC_WORDS = 6
_MIN_SHARED = 2
_SHORTEST_CONTEXT_WORD = 4


def language_of(ask: Ask) -> Language:
    """The language to answer in: the system prompt's wish, else the question's own."""
    for said in (ask.system, ask.talk.question):
        for pattern, language in _SPOKEN:
            if pattern.search(said):
                return language
    if _HAN.search(ask.talk.question):
        return CHINESE
    words = set(_words(ask.talk.question))
    return max(LANGUAGES, key=lambda language: len(words & language.hints))


def answer(ask: Ask, seed: int) -> str:
    """Return the text that answers the request."""
    language = language_of(ask)
    text = _text(ask, language, seed)
    if _BRIEF.search(ask.system):
        first = _FIRST_SENTENCE.match(text)
        text = first[0] if first else text
    return text


def thoughts(ask: Ask) -> str:
    """Return what is thought before the answer."""
    return language_of(ask).thinking.format(topic=_topic(ask.talk.question))


def announcement(ask: Ask) -> str:
    """Return what is said before a tool is used."""
    return language_of(ask).tool


def stretched(text: str, tokens: int) -> tuple[str, ...]:
    """Return exactly ``tokens`` pieces: the text, cut or told again from the start."""
    pieces = split(text)
    again = split(" " + text) if text else ("…",)
    return (*pieces[:tokens], *islice(cycle(again), max(0, tokens - len(pieces))))


def _text(ask: Ask, language: Language, seed: int) -> str:
    question = ask.talk.question
    if ask.talk.result is not None:
        shown = ask.talk.result.text.strip()[:_LONGEST_RESULT] or "OK"
        return language.result.format(tool=ask.talk.result.name, result=shown)
    if ask.talk.has_image:
        return language.image
    if found := _from_context(ask):
        return found
    choices = next(
        (topic.answers for topic in language.topics if topic.pattern.search(question)),
        language.generic,
    )
    return choices[_draw(seed, question, len(choices))].replace("{topic}", _topic(question))


def _from_context(ask: Ask) -> str:
    """The sentences of a context in the system prompt that share the most words with the question."""
    if not _CONTEXT.search(ask.system):
        return ""
    asked = {word[:5] for word in _content_words(ask.talk.question) if len(word) >= _SHORTEST_CONTEXT_WORD}
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(ask.system)]
    scored = [(len(asked & {word[:5] for word in _content_words(sentence)}), sentence) for sentence in sentences]
    best = max((score for score, _ in scored), default=0)
    if best < min(_MIN_SHARED, len(asked) or 1):
        return ""
    return " ".join(sentence for score, sentence in scored if score == best)


def _topic(question: str) -> str:
    words = _content_words(question)[:_TOPIC_WORDS]
    return " ".join(words) or "…"


def _content_words(text: str) -> list[str]:
    return [word for word in _words(text) if word not in _EMPTY]


def _words(text: str) -> Iterable[str]:
    return _WORD.findall(text[:100_000].casefold())


def _draw(seed: int, question: str, among: int) -> int:
    digest = hashlib.sha256(f"{seed}\0{question}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4]) % among
