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

from gateway.core.call import DEFAULT_VERSION, Call, Restrictions
from gateway.core.dialects.settings import ChatSettings
from gateway.core.errors import InvalidRequest, MessageRequired
from gateway.core.pricing import PriceBook
from gateway.core.quota.worst import worst_case
from gateway.core.restrictions import check_account_resources, check_model

LONGEST_USER_ID = 256  # characters of the application's own id of a user
_STRICT = ConfigDict(extra="forbid", frozen=True)
# Far past any conversation; the body's size is the real bound.
_MAX_TURNS = 10_000
_MAX_TOKENS = (1 << 31) - 1
_PLACEHOLDER = re.compile(r"\{(context|language|system)\}")
# Claude refuses what is nothing but white space.
_NotBlank = Annotated[str, StringConstraints(pattern=r"\S")]


class ContentBlock(BaseModel):
    """One of Claude's content blocks, of any type: text, an image, a document, ... Its fields pass unchanged."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str


class Turn(BaseModel):
    """One turn of a conversation."""

    model_config = _STRICT

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(min_length=1)] | Annotated[list[ContentBlock], Field(min_length=1)] = Field(
        description="Text, or Claude's content blocks."
    )


class RequestMetadata(BaseModel):
    """Who asks."""

    model_config = _STRICT

    userId: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_USER_ID)] | None = Field(  # noqa: N815 - the wire's name
        None, description="The application's own user, for limits per user."
    )


class Thinking(BaseModel):
    """Claude's thinking parameter where it takes no budget."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Literal["adaptive", "disabled"]


class ThinkingBudget(BaseModel):
    """Claude's thinking parameter with a budget."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1024, le=_MAX_TOKENS, strict=True, description="Less than maxTokens.")]


_Thinking = Annotated[Thinking | ThinkingBudget, Field(discriminator="type")]
# What no single field says, for the document of the API.
_EITHER: dict[str, Any] = {
    "anyOf": [
        {"required": ["message"], "properties": {"message": {"type": "string", "pattern": r"\S"}}},
        {"required": ["messages"], "properties": {"messages": {"type": "array", "minItems": 1}}},
    ]
}


class ChatRequest(BaseModel):
    """Body of ``POST /api/chat/stream``."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_EITHER)

    message: str | None = Field(None, description="What the user says now. Required unless messages holds it.")
    messages: list[Turn] = Field(default_factory=list, max_length=_MAX_TURNS, description="The conversation so far.")
    systemPrompt: str | None = Field(None, description="System prompt, if the gateway allows callers to bring one.")  # noqa: N815
    system: str | None = Field(None, description="The same as systemPrompt.")
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    maxTokens: Annotated[int, Field(ge=1, le=_MAX_TOKENS, strict=True)] | None = None  # noqa: N815
    temperature: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    stopSequences: Annotated[list[_NotBlank], Field(max_length=100)] | None = None  # noqa: N815
    context: str | list[str] | None = Field(None, description="Passages to answer from (retrieval-augmented answers).")
    language: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        None, description="Language of the answer, for the template of answers from a context."
    )
    metadata: RequestMetadata | None = None
    thinking: _Thinking | Annotated[bool, Field(strict=True)] | None = Field(
        None, description="Claude's thinking parameter, or true for adaptive thinking."
    )
    stream: Annotated[bool, Field(strict=True)] = Field(True, description="false gives one JSON answer.")


_MODELS: tuple[type[BaseModel], ...] = (ChatRequest, Turn, ContentBlock, RequestMetadata, Thinking, ThinkingBudget)
_NAMES = frozenset(name for model in _MODELS for name in model.model_fields)


def parse_query(query: Mapping[str, str], settings: ChatSettings, allowed: Restrictions, prices: PriceBook) -> Call:
    """Read the existing frontends' GET; other parameters than theirs are ignored, as they always were."""
    return _call({name: query[name] for name in ("message", "system") if name in query}, settings, allowed, prices)


def parse_body(body: bytes, settings: ChatSettings, allowed: Restrictions, prices: PriceBook) -> Call:
    """Read a POST.

    Raises:
        InvalidRequest: Names the field and what is allowed.
        MessageRequired: There is nothing to answer.
    """
    return _call(_object(body), settings, allowed, prices)


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
    unknown = sorted(".".join(map(str, problem["loc"])) for problem in problems if problem["type"] == "extra_forbidden")
    if unknown:
        ours = not all("." in name for name in unknown)
        allowed = f" Allowed: {', '.join(ChatRequest.model_fields)}." if ours else ""
        return InvalidRequest(f"Unknown field: {', '.join(unknown)}.{allowed}")
    # Of a value that may be one thing or another, the complaint that goes deepest is about what was meant.
    deepest = max(problems, key=lambda problem: len(problem["loc"]))
    return InvalidRequest(f"{_place(deepest['loc'])}: {deepest['msg']}.")


def _place(location: tuple[int | str, ...]) -> str:
    """Return the path as the caller wrote it, without the names of our types."""
    return ".".join(str(step) for step in location if isinstance(step, int) or step in _NAMES)


def _validated(fields: dict[str, Any]) -> ChatRequest:
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as error:
        raise _explain(error) from None


def _call(fields: dict[str, Any], settings: ChatSettings, allowed: Restrictions, prices: PriceBook) -> Call:
    request = _validated(fields)
    # What passes unchanged is taken as it came: it may be nested deeper than a model could be written out again.
    turns = list(fields.get("messages", ()))
    check_account_resources({"messages": turns}, allowed)
    if request.message is not None and request.message.strip():
        turns.append({"role": "user", "content": request.message})
    if not turns:
        raise MessageRequired
    model = request.model or settings.model
    model = settings.aliases.get(model, model)
    check_model(model, allowed)
    max_tokens = min(request.maxTokens or settings.max_tokens, allowed.max_output_tokens or _MAX_TOKENS)
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "messages": turns, "stream": request.stream}
    if (system := _system(request, settings)) is not None:
        body["system"] = system
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.stopSequences:
        body["stop_sequences"] = request.stopSequences
    thinking = _thinking(fields)
    if thinking is not None:
        body["thinking"] = thinking
    return Call(
        method="POST",
        target="/v1/messages",
        body=_dump(body),
        headers={"anthropic-version": DEFAULT_VERSION},
        model=model,
        stream=request.stream,
        max_tokens=max_tokens,
        end_user=request.metadata.userId if request.metadata else None,
        thinking=thinking is not None and thinking.get("type") != "disabled",
        worst=worst_case(body, prices),
    )


def _dump(body: dict[str, Any]) -> bytes:
    try:
        # A copy: what orjson returns keeps the 4 KiB that it was written into, for as long as the stream lasts.
        return bytes(memoryview(orjson.dumps(body)))
    except TypeError as error:
        raise InvalidRequest(f"The request cannot be passed on to Claude: {error}.") from None


def _thinking(fields: dict[str, Any]) -> dict[str, Any] | None:
    brought = fields.get("thinking")
    if isinstance(brought, dict):
        return brought
    return {"type": "adaptive"} if brought else None


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
