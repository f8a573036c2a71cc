"""What the chat route takes: the existing frontends' two forms, and ours on top.

- ``message`` is the new turn; ``messages`` the conversation before it, or all of it when there is no ``message``.
- ``system`` and ``systemPrompt`` are the same; two different ones are an error.
- Unknown fields are an error that names them, so that a typo does not silently change an answer.
- ``stopSequences``, ``maxTokens`` and the others are Claude's, in the frontends' spelling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gateway.core.call import Call, Restrictions
from gateway.core.dialects.settings import ChatSettings
from gateway.core.errors import InvalidRequest, MessageRequired
from gateway.core.restrictions import check_model

_STRICT = ConfigDict(extra="forbid", frozen=True)
# Far past any conversation; the body's size is the real bound.
_MAX_TURNS = 10_000
_PLACEHOLDER = re.compile(r"\{(context|language|system)\}")


class Turn(BaseModel):
    """One turn of a conversation."""

    model_config = _STRICT

    role: Literal["user", "assistant"]
    content: str | list[dict[str, Any]] = Field(description="Text, or Claude's content blocks.")


class ChatMetadata(BaseModel):
    """Who asks."""

    model_config = _STRICT

    userId: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(  # noqa: N815 - the wire's name
        None, description="The application's own user, for limits per user."
    )


class Thinking(BaseModel):
    """Claude's thinking parameter."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Literal["enabled", "adaptive", "disabled"]


class ChatRequest(BaseModel):
    """Body of ``POST /api/chat/stream``."""

    model_config = _STRICT

    message: str | None = Field(None, description="What the user says now. Required unless messages holds it.")
    messages: list[Turn] = Field(default=[], max_length=_MAX_TURNS, description="The conversation so far.")
    systemPrompt: str | None = Field(None, description="System prompt, if the gateway allows callers to bring one.")  # noqa: N815
    system: str | None = Field(None, description="The same as systemPrompt.")
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    maxTokens: Annotated[int, Field(ge=1, strict=True)] | None = None  # noqa: N815
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    stopSequences: Annotated[list[str], Field(max_length=100)] | None = None  # noqa: N815
    context: str | list[str] | None = Field(None, description="Passages to answer from (retrieval-augmented answers).")
    language: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        None, description="Language of the answer, for the template of answers from a context."
    )
    metadata: ChatMetadata | None = None
    thinking: Thinking | Annotated[bool, Field(strict=True)] | None = Field(
        None, description="Claude's thinking parameter, or true for adaptive thinking."
    )
    stream: Annotated[bool, Field(strict=True)] = Field(True, description="false gives one JSON answer.")


def parse_query(query: Mapping[str, str], settings: ChatSettings, allowed: Restrictions) -> Call:
    """Read the existing frontends' GET; other parameters than theirs are ignored, as they always were."""
    fields = {name: query[name] for name in ("message", "system") if name in query}
    return _call(ChatRequest(**fields), settings, allowed)


def parse_body(body: bytes, settings: ChatSettings, allowed: Restrictions) -> Call:
    """Read a POST.

    Raises:
        InvalidRequest: Names the field and what is allowed.
        MessageRequired: There is nothing to answer.
    """
    try:
        return _call(ChatRequest.model_validate(_object(body)), settings, allowed)
    except ValidationError as error:
        raise _explain(error) from None


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise MessageRequired
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
    if not isinstance(decoded, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return decoded


def _explain(error: ValidationError) -> InvalidRequest:
    problems = error.errors(include_url=False, include_input=False)
    unknown = sorted({".".join(map(str, p["loc"])) for p in problems if p["type"] == "extra_forbidden"})
    if unknown:
        allowed = ", ".join(ChatRequest.model_fields)
        return InvalidRequest(f"Unknown field: {', '.join(unknown)}. Allowed: {allowed}.")
    first = problems[0]
    return InvalidRequest(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.")


def _call(request: ChatRequest, settings: ChatSettings, allowed: Restrictions) -> Call:
    turns = [turn.model_dump() for turn in request.messages]
    if request.message is not None and request.message.strip():
        turns.append({"role": "user", "content": request.message})
    if not turns:
        raise MessageRequired
    model = request.model or settings.model
    model = settings.aliases.get(model, model)
    check_model(model, allowed)
    max_tokens = min(request.maxTokens or settings.max_tokens, allowed.max_output_tokens or 1 << 31)
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "messages": turns, "stream": request.stream}
    if (system := _system(request, settings)) is not None:
        body["system"] = system
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.stopSequences:
        body["stop_sequences"] = request.stopSequences
    thinking = _thinking(request)
    if thinking is not None:
        body["thinking"] = thinking
    return Call(
        method="POST",
        target="/v1/messages",
        body=_dump(body),
        headers={"anthropic-version": "2023-06-01"},
        model=model,
        stream=request.stream,
        max_tokens=max_tokens,
        end_user=request.metadata.userId if request.metadata else None,
        thinking=thinking is not None and thinking.get("type") != "disabled",
    )


def _dump(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        raise InvalidRequest("The request holds text that is not valid Unicode.") from None


def _thinking(request: ChatRequest) -> dict[str, Any] | None:
    if isinstance(request.thinking, Thinking):
        return request.thinking.model_dump()
    return {"type": "adaptive"} if request.thinking else None


def _system(request: ChatRequest, settings: ChatSettings) -> str | None:
    if request.system and request.systemPrompt and request.system != request.systemPrompt:
        raise InvalidRequest("system and systemPrompt are the same field; they were given two different values.")
    brought = request.systemPrompt or request.system
    system = brought if brought and settings.client_system == "allow" else settings.system
    if not request.context:
        return system
    context = request.context if isinstance(request.context, str) else "\n\n".join(request.context)
    template = settings.rag_template
    if "{system}" not in template and system:
        template = "{system}\n\n" + template
    # One pass over the template, so that text brought by a caller is never taken for a placeholder.
    fill = {"context": context, "language": request.language or settings.default_language, "system": system or ""}
    return _PLACEHOLDER.sub(lambda match: fill[match[1]], template)
