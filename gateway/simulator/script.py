"""What one answer consists of: its blocks, cut into tokens, and why it stops.

Rules: ``max_tokens`` bounds everything, thinking included; the first stop sequence in the text ends it and is not
part of it; a tool is used when the request forces one or the question shares words with it; a turn that ends in a tool
result is answered in text. Output tokens are exactly the deltas that are sent. Pure.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from gateway.simulator.answers import announcement, answer, stretched, thoughts
from gateway.simulator.ask import Ask, Tool
from gateway.simulator.directives import Directives
from gateway.simulator.ids import Ids
from gateway.simulator.schema_input import fill
from gateway.simulator.tokens import split, split_json

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-\s]+")
_WORD = re.compile(r"[^\W\d_]{3,}")
_EMPTY = frozenset(
    [
        "get",
        "the",
        "and",
        "for",
        "with",
        "from",
        "this",
        "that",
        "tool",
        "find",
        "list",
        "show",
        "make",
        "set",
        "use",
        "new",
        "what",
        "give",
    ]
)
_STEM = 5
_NAME_SCORE, _DESCRIPTION_SCORE, _FITS = 2, 1, 2


@dataclass(frozen=True, slots=True)
class Block:
    """One content block.

    Attributes:
        kind: Its type on the wire.
        pieces: The deltas' contents; joined, they are the block's text, thoughts or JSON.
        id: Of a tool use.
        name: Of the tool.
        signature: Of thinking.
        hidden: Thinking that counts but is not shown.
    """

    kind: Literal["text", "thinking", "tool_use"]
    pieces: tuple[str, ...]
    id: str = ""
    name: str = ""
    signature: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """One whole answer."""

    blocks: tuple[Block, ...]
    stop_reason: str
    stop_sequence: str | None = None
    thinking_asked: bool = False

    @property
    def output_tokens(self) -> int:
        """All tokens, thinking included."""
        return sum(len(block.pieces) for block in self.blocks)

    @property
    def thinking_tokens(self) -> int:
        """The part of them that is thinking."""
        return sum(len(block.pieces) for block in self.blocks if block.kind == "thinking")


def write_script(ask: Ask, asked: Directives, ids: Ids, seed: int) -> Script:
    """Plan the answer to a request."""
    thinking = _thinking(ask, ids)
    if (tool := _tool_to_use(ask)) is not None:
        script = Script((*thinking, *_tool_blocks(ask, tool, ids)), "tool_use")
    else:
        pieces, stop_sequence = _text(ask, asked, seed)
        blocks = (*thinking, Block("text", pieces)) if pieces else thinking
        script = Script(blocks, "stop_sequence" if stop_sequence else "end_turn", stop_sequence)
    script = _within(replace(script, thinking_asked=ask.thinking != "off"), ask.max_tokens)
    return replace(script, stop_reason=asked.stop_reason, stop_sequence=None) if asked.stop_reason else script


def _thinking(ask: Ask, ids: Ids) -> tuple[Block, ...]:
    if ask.thinking == "off":
        return ()
    pieces = split(thoughts(ask))
    return (Block("thinking", pieces, signature=ids.signature(), hidden=ask.thinking == "omitted"),)


def _text(ask: Ask, asked: Directives, seed: int) -> tuple[tuple[str, ...], str | None]:
    if asked.text is not None:
        text = asked.text
    elif ask.schema is not None:
        text = json.dumps(fill(ask.schema, ask.talk.question), ensure_ascii=False)
    else:
        text = answer(ask, seed)
    pieces = stretched(text, asked.tokens) if asked.tokens else split(text)
    if not ask.stop_sequences:
        return pieces, None
    whole = "".join(pieces)
    found = min(((whole.find(stop), stop) for stop in ask.stop_sequences if stop in whole), default=None)
    return (split(whole[: found[0]]), found[1]) if found else (pieces, None)


def _tool_blocks(ask: Ask, tool: Tool, ids: Ids) -> tuple[Block, ...]:
    given = json.dumps(fill(tool.schema, ask.talk.question), ensure_ascii=False)
    use = Block("tool_use", split_json(given), id=ids.tool_use(), name=tool.name)
    said = () if ask.choice in {"any", "tool"} else (Block("text", split(announcement(ask))),)
    return (*said, use)


def _tool_to_use(ask: Ask) -> Tool | None:
    if ask.choice == "tool":
        return next((tool for tool in ask.tools if tool.name == ask.forced), None)
    if not ask.tools or ask.choice == "none":
        return None
    asked = _stems(ask.talk.question)
    best = max(ask.tools, key=lambda tool: _score(tool, asked))
    if ask.choice == "any":
        return best
    return best if ask.talk.result is None and _score(best, asked) >= _FITS else None


def _score(tool: Tool, asked: set[str]) -> int:
    names = _stems(" ".join(_CAMEL.split(tool.name)))
    described = _stems(f"{tool.description} {' '.join(_properties(tool.schema))}") - names
    return _NAME_SCORE * len(names & asked) + _DESCRIPTION_SCORE * len(described & asked)


def _properties(schema: dict[str, Any]) -> list[str]:
    properties = schema.get("properties")
    return [str(name) for name in properties] if isinstance(properties, dict) else []


def _stems(text: str) -> set[str]:
    return {word[:_STEM] for word in _WORD.findall(text.casefold()) if word not in _EMPTY}


def _within(script: Script, max_tokens: int) -> Script:
    """Cut the script at ``max_tokens``."""
    if script.output_tokens <= max_tokens:
        return script
    left = max_tokens
    kept: list[Block] = []
    for block in script.blocks:
        if not left:
            break
        pieces = block.pieces[:left]
        whole = len(pieces) == len(block.pieces)
        kept.append(replace(block, pieces=pieces, signature=block.signature if whole else ""))
        left -= len(pieces)
    return replace(script, blocks=tuple(kept), stop_reason="max_tokens", stop_sequence=None)
