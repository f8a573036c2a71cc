"""``[chat]``: what the chat route fills in for callers that name no model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class ChatSettings(BaseModel):
    """Defaults of ``/api/chat/stream``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("claude-sonnet-5-5", min_length=1, description="Model of requests that name none.")
    max_tokens: Annotated[int, Field(ge=1)] = Field(4096, description="max_tokens of requests that name none.")
    system: str | None = Field(
        None, examples=["You are the shop's assistant."], description="System prompt of requests that bring none."
    )
    client_system: Literal["allow", "ignore"] = Field(
        "allow", description="Whether a caller may replace the system prompt."
    )
    rag_template: str = Field(
        "Answer in {language}. Use only the context below; say so when it does not hold the answer.\n\n{context}",
        description="System prompt of requests with a context; {context}, {language} and {system} are filled in.",
    )
    default_language: str = Field("the language of the question", description="{language} when the request names none.")
    aliases: dict[str, str] = Field(
        default_factory=lambda: {"claude-3-5-sonnet-20241022": "claude-sonnet-5-5"},
        description="Retired model names and what answers for them.",
    )
