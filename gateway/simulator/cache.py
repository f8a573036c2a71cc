"""The prompt cache as callers see it: the first call of a prefix writes it, later ones read it.

A prefix is everything up to a ``cache_control`` mark, in Claude's order: tools, system, messages. Entries live for five
minutes or one hour after their last use, per model and credential. Claude's minimum length is left out on purpose: a
frontend's short prompts show cache usage too. Bounded; ``now`` is an argument.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.simulator.conversation import blocks
from gateway.simulator.tokens import count_part

_MAX_ENTRIES = 10_000
_LIFETIMES = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True, slots=True)
class InputUsage:
    """Input tokens by price class, as ``message_start`` tells them."""

    plain: int
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def written(self) -> int:
        """Both lifetimes together."""
        return self.written_5m + self.written_1h


@dataclass(frozen=True, slots=True)
class _Prefix:
    digest: bytes
    tokens: int
    lifetime: str | None  # of the mark that ends it; None where there is no mark


class PromptCache:
    """What was cached, and until when."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, float] = OrderedDict()

    def account(self, body: dict[str, Any], credential: str, now: float, *, marked: bool) -> InputUsage:
        """Return the input usage of a request, and remember its marked prefixes.

        Args:
            body: The request.
            credential: Caches are not shared between credentials.
            now: Seconds of any clock that does not go back.
            marked: Whether ``cache_control`` occurs in it; without it nothing is hashed.
        """
        if not marked:
            return InputUsage(count_input(body))
        prefixes = list(_prefixes(body, credential))
        total = prefixes[-1].tokens
        read = max((prefix.tokens for prefix in prefixes if self._live(prefix.digest, now)), default=0)
        written = dict.fromkeys(_LIFETIMES, 0)
        reached = read
        for prefix in prefixes:
            if prefix.lifetime is None:
                continue
            self._touch(prefix.digest, now + _LIFETIMES[prefix.lifetime])
            written[prefix.lifetime] += max(0, prefix.tokens - reached)
            reached = max(reached, prefix.tokens)
        return InputUsage(total - reached, read if reached else 0, written["5m"], written["1h"])

    def _live(self, digest: bytes, now: float) -> bool:
        return self._entries.get(digest, 0) > now

    def _touch(self, digest: bytes, until: float) -> None:
        self._entries[digest] = until
        self._entries.move_to_end(digest)
        if len(self._entries) > _MAX_ENTRIES:
            self._entries.popitem(last=False)


def count_input(body: dict[str, Any]) -> int:
    """Estimate the input tokens of a request, cached or not."""
    return 3 + sum(count_part(body.get(name) or ()) for name in ("tools", "system", "messages"))


def _prefixes(body: dict[str, Any], credential: str) -> Iterator[_Prefix]:
    """Each block's prefix; the last block is marked too when the request asks for automatic caching."""
    hashed = hashlib.sha256(f"{credential}\0{body['model']}".encode())
    tokens = 3
    parts = list(_parts(body))
    automatic = body.get("cache_control")
    for at, (place, block) in enumerate(parts):
        mark = block.get("cache_control") if isinstance(block, dict) else None
        bare = (
            {key: value for key, value in block.items() if key != "cache_control"} if isinstance(block, dict) else block
        )
        hashed.update(place.encode() + orjson.dumps(bare, default=str))
        tokens += count_part(block)
        if at == len(parts) - 1:
            mark = mark or automatic
        yield _Prefix(hashed.digest(), tokens, _lifetime(mark))


def _parts(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for tool in body.get("tools") or ():
        yield "tool", tool
    yield from (("system", part) for part in _contents(body.get("system") or ()))
    for at, message in enumerate(body["messages"]):
        yield from ((f"{at} {message['role']}", part) for part in _contents(message["content"]))


def _contents(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else blocks(content)


def _lifetime(mark: Any) -> str | None:
    if not isinstance(mark, dict):
        return None
    return "1h" if mark.get("ttl") == "1h" else "5m"
