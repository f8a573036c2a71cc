"""The turns of a conversation: checked in Claude's own words, and read.

Every ``tool_use`` must be answered by a ``tool_result`` in the next turn; that is the mistake that agents make most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.simulator.directives import split_marker
from gateway.simulator.refusals import invalid


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the caller's tool returned, and which tool it was."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """The turns, as far as the answer depends on them.

    Attributes:
        question: Text of the last user turn that has any, without directives.
        directives: What stood in ``[[sim: ...]]`` of the last user turn.
        result: The tool result that the last turn brings.
        has_image: Whether the last turn brings an image.
    """

    question: str
    directives: str
    result: ToolResult | None
    has_image: bool


def read_conversation(messages: list[Any]) -> Conversation:
    """Check and read the turns; raises :class:`~gateway.simulator.refusals.Refused`."""
    if not messages:
        raise invalid("messages: at least one message is required")
    for at, message in enumerate(messages):
        _check_message(at, message, last=at == len(messages) - 1)
    _check_results(messages)
    texts = [text_of(message["content"]) for message in messages if message["role"] == "user"]
    last, directives = split_marker(texts[-1] if texts else "")
    return Conversation(
        question=last or _earlier(texts),
        directives=directives,
        result=_result(messages),
        has_image=any(block.get("type") == "image" for block in blocks(messages[-1]["content"])),
    )


def text_of(content: Any) -> str:
    """The texts in a message's content, or in the system prompt, joined by lines."""
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", "")) for block in blocks(content) if block.get("type") == "text")


def check_text_blocks(where: str, content: list[Any]) -> None:
    """Check a list that holds only text; raises :class:`~gateway.simulator.refusals.Refused`."""
    for part, block in enumerate(content):
        _check_block(f"{where}.{part}", block)
        if block["type"] != "text":
            raise invalid(f"{where}.{part}.type: Input should be 'text'")


def blocks(content: Any) -> list[dict[str, Any]]:
    """The content as blocks, whatever is none left out."""
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _earlier(texts: list[str]) -> str:
    return next((text for text in (split_marker(text)[0] for text in reversed(texts)) if text), "")


def _check_message(at: int, message: Any, *, last: bool) -> None:
    if not isinstance(message, dict):
        raise invalid(f"messages.{at}: Input does not match the expected shape.")
    for name in ("role", "content"):
        if name not in message:
            raise invalid(f"messages.{at}.{name}: Field required")
    if message["role"] not in ("user", "assistant", "system"):  # a tuple: what came may not be hashable
        raise invalid(f"messages.{at}.role: Input should be 'user' or 'assistant'")
    content = message["content"]
    if not isinstance(content, str | list):
        raise invalid(f"messages.{at}.content: Input should be a valid list")
    if not content and not (last and message["role"] == "assistant"):
        raise invalid(
            f"messages.{at}: all messages must have non-empty content except for the optional final assistant message"
        )
    for part, block in enumerate(content if isinstance(content, list) else ()):
        _check_block(f"messages.{at}.content.{part}", block)


def _check_block(where: str, block: Any) -> None:
    if not isinstance(block, dict):
        raise invalid(f"{where}: Input should be a valid dictionary or object to extract fields from")
    if "type" not in block:
        raise invalid(f"{where}.type: Field required")
    for name in ("type", "id", "tool_use_id"):
        if not isinstance(block.get(name, ""), str):
            raise invalid(f"{where}.{name}: Input should be a valid string")
    if block["type"] == "text":
        if not isinstance(block.get("text"), str):
            raise invalid(f"{where}.text.text: Field required")
        if not block["text"]:
            raise invalid("messages: text content blocks must be non-empty")


def _check_results(messages: list[dict[str, Any]]) -> None:
    """Each ``tool_use`` is answered in the next turn, and nothing else is."""
    open_ids: set[Any] = set()
    for at, message in enumerate(messages):
        results = {block.get("tool_use_id") for block in blocks(message["content"]) if block["type"] == "tool_result"}
        if missing := open_ids - results:
            raise invalid(
                f"messages.{at - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(sorted(map(str, missing)))}. Each `tool_use` block must have a corresponding "
                "`tool_result` block in the next message."
            )
        if unknown := results - open_ids:
            raise invalid(
                f"messages.{at}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(sorted(map(str, unknown)))}. Each `tool_result` block must have a corresponding "
                "`tool_use` block in the previous message."
            )
        open_ids = {block.get("id") for block in blocks(message["content"]) if block["type"] == "tool_use"}


def _result(messages: list[dict[str, Any]]) -> ToolResult | None:
    found = [block for block in blocks(messages[-1]["content"]) if block["type"] == "tool_result"]
    if not found:
        return None
    uses = [block for block in blocks(messages[-2]["content"]) if block.get("id") == found[-1].get("tool_use_id")]
    return ToolResult(name=str(uses[0].get("name", "tool")), text=text_of(found[-1].get("content", "")))
