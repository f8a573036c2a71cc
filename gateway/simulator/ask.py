"""What a request to ``/v1/messages`` asks for, read from its JSON with Claude's own refusals.

Only what changes the answer is read and checked; unknown fields pass, so that a newer SDK's request is not refused by
an older simulator (Claude itself refuses them). The words of the refusals are Claude's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from gateway.simulator.conversation import Conversation, check_text_blocks, read_conversation, text_of
from gateway.simulator.refusals import Refused, invalid

_KNOWN_PREFIXES = ("claude-", "sim-")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MIN_BUDGET = 1024

Thinking = Literal["off", "shown", "omitted"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the caller's own."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, as far as the answer depends on it.

    Attributes:
        choice: ``tool_choice``'s type; ``forced`` is the tool that it names.
        schema: Schema of ``output_config.format``, if the answer has to follow one.
    """

    model: str
    stream: bool
    max_tokens: int
    talk: Conversation
    system: str
    tools: tuple[Tool, ...]
    choice: str
    forced: str
    thinking: Thinking
    stop_sequences: tuple[str, ...]
    schema: dict[str, Any] | None


def read_ask(body: Any, *, counting: bool = False) -> Ask:
    """Read a request body; raises :class:`Refused` in Claude's words.

    Args:
        body: The decoded JSON.
        counting: Whether it came to ``count_tokens``, which takes no ``max_tokens``.
    """
    if not isinstance(body, dict):
        raise invalid("Input should be a valid dictionary")
    model = _model(body)
    talk = read_conversation(_field(body, "messages", list, "list"))
    max_tokens = 1 if counting else _max_tokens(body)
    tools = _tools(body)
    choice, forced = _choice(body)
    _check_temperature(body)
    _check_metadata(body)
    return Ask(
        model=model,
        stream=_boolean(body, "stream"),
        max_tokens=max_tokens,
        talk=talk,
        system=_system(body),
        tools=tools,
        choice=choice,
        forced=forced,
        thinking=_thinking(body, choice, max_tokens, counting=counting),
        stop_sequences=_stop_sequences(body),
        schema=_schema(body),
    )


def _field(body: dict[str, Any], name: str, kind: type, called: str) -> Any:
    if name not in body:
        raise invalid(f"{name}: Field required")
    value = body[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise invalid(f"{name}: Input should be a valid {called}")
    return value


def _boolean(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise invalid(f"{name}: Input should be a valid boolean")
    return value


def _model(body: dict[str, Any]) -> str:
    model: str = _field(body, "model", str, "string")
    if not model:
        raise invalid("model: String should have at least 1 character")
    if not model.startswith(_KNOWN_PREFIXES):
        raise Refused(404, message=f"model: {model}")
    return model


def _max_tokens(body: dict[str, Any]) -> int:
    value: int = _field(body, "max_tokens", int, "integer")
    if value < 1:
        raise invalid("max_tokens: must be greater than or equal to 1")
    return value


def _check_temperature(body: dict[str, Any]) -> None:
    temperature = body.get("temperature", 1)
    if not isinstance(temperature, int | float) or isinstance(temperature, bool):
        raise invalid("temperature: Input should be a valid number")
    if not 0 <= temperature <= 1:
        raise invalid("temperature: range: 0..1")


def _check_metadata(body: dict[str, Any]) -> None:
    metadata = body.get("metadata")
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise invalid("metadata: Input should be a valid dictionary")
    if not isinstance(metadata.get("user_id"), str | None):
        raise invalid("metadata.user_id: Input should be a valid string")


def _system(body: dict[str, Any]) -> str:
    system = body.get("system")
    if isinstance(system, list):
        check_text_blocks("system", system)
    elif not isinstance(system, str | None):
        raise invalid("system: Input should be a valid string")
    return text_of(system or "")


def _tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    value = body.get("tools") or []
    if not isinstance(value, list):
        raise invalid("tools: Input should be a valid list")
    found = []
    for at, tool in enumerate(value):
        if not isinstance(tool, dict):
            raise invalid(f"tools.{at}: Input does not match the expected shape.")
        if tool.get("type", "custom") == "custom":
            found.append(_tool(f"tools.{at}.custom", tool))
    if len({tool.name for tool in found}) < len(found):
        raise invalid("tools: Tool names must be unique.")
    return tuple(found)


def _tool(where: str, tool: dict[str, Any]) -> Tool:
    for name in ("name", "input_schema"):
        if name not in tool:
            raise invalid(f"{where}.{name}: Field required")
    schema = tool["input_schema"]
    if not _TOOL_NAME.fullmatch(str(tool["name"])):
        raise invalid(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    if not isinstance(schema, dict):
        raise invalid(f"{where}.input_schema: Input does not match the expected shape.")
    if "type" not in schema:
        raise invalid(f"{where}.input_schema.type: Field required")
    if schema["type"] != "object":
        raise invalid(f"{where}.input_schema.type: Input should be 'object'")
    return Tool(str(tool["name"]), str(tool.get("description", "")), schema)


def _choice(body: dict[str, Any]) -> tuple[str, str]:
    value = body.get("tool_choice")
    if value is None:
        return "auto", ""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise invalid("tool_choice: Input should be a valid dictionary with type 'auto', 'any', 'tool' or 'none'")
    if kind != "none" and not body.get("tools"):
        raise invalid("tool_choice: `tool_choice` may only be specified while providing `tools`.")
    names = {tool.get("name") for tool in body.get("tools") or ()}
    forced = str(value.get("name", "")) if kind == "tool" else ""
    if forced and forced not in names:
        raise invalid(f"tool_choice: Tool '{forced}' not found in provided tools")
    return kind, forced


def _thinking(body: dict[str, Any], choice: str, max_tokens: int, *, counting: bool) -> Thinking:
    value = body.get("thinking")
    if value is None:
        return "off"
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("enabled", "disabled", "adaptive", "between_tools"):
        raise invalid("thinking: Input should be a valid dictionary with type 'enabled', 'disabled' or 'adaptive'")
    if kind in {"disabled", "between_tools"}:
        return "off"
    if choice in {"any", "tool"}:
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "enabled":
        _check_budget(value, max_tokens, counting=counting)
    return "omitted" if value.get("display") == "omitted" else "shown"


def _check_budget(thinking: dict[str, Any], max_tokens: int, *, counting: bool) -> None:
    budget = thinking.get("budget_tokens")
    if budget is None:
        raise invalid("thinking.enabled.budget_tokens: Field required")
    if not isinstance(budget, int) or budget < _MIN_BUDGET:
        raise invalid(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_MIN_BUDGET}")
    if not counting and budget >= max_tokens:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _stop_sequences(body: dict[str, Any]) -> tuple[str, ...]:
    value = body.get("stop_sequences") or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid("stop_sequences: Input should be a valid list")
    if any(not item.strip() for item in value):
        raise invalid("stop_sequences: each stop sequence must contain non-whitespace")
    return tuple(value)


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    config = body.get("output_config")
    form = config.get("format") if isinstance(config, dict) else None
    schema = form.get("schema") if isinstance(form, dict) else None
    return schema if isinstance(schema, dict) else None
