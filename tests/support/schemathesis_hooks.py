"""Failures that schemathesis reports and that are none: what no JSON Schema can say, and what a real Claude would refuse.

Each needs its sentence in the answer *and* its reason in the request; nothing else that the document allows may be
refused, and nothing else that it forbids accepted.
"""

from __future__ import annotations

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

# Relations between two fields.
RELATIONS = (
    "`max_tokens` must be greater than `thinking.budget_tokens`.",
    "system and systemPrompt are the same field; they were given two different values.",
)
INTEGERS = {"maxTokens", "max_tokens", "budget_tokens"}
# White space in Python, and so in the gateway, but not in the patterns of JSON Schema (ECMA 262).
SEPARATORS = "\x1c\x1d\x1e\x1f\x85"


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drop the failures that are no fault of the document or of the gateway."""
    answer = response.content.decode("utf-8", "replace")
    if isinstance(failure, RejectedPositiveData):
        return not (
            any(relation in answer for relation in RELATIONS)
            or ("Input should be a valid integer" in answer and _has_odd_integer(case.body))
            or ("Message is required" in answer and _is_blank(case))
        )
    return not (isinstance(failure, AcceptedNegativeData) and _has_unknown_block(case.body))


def _has_odd_integer(body) -> bool:
    """1.0 and 10**30 are integers to JSON Schema; no client sends them for a number of tokens, and Claude takes none."""
    if not isinstance(body, dict):
        return False
    for name, value in body.items():
        if name in INTEGERS and (isinstance(value, float) or (isinstance(value, int) and value >= 1 << 64)):
            return True
        if isinstance(value, dict) and _has_odd_integer(value):
            return True
    return False


def _is_blank(case) -> bool:
    fields = {**(case.query or {}), **(case.body if isinstance(case.body, dict) else {})}
    message = fields.get("message")
    return isinstance(message, str) and not message.strip() and any(mark in message for mark in SEPARATORS)


def _has_unknown_block(body) -> bool:
    """The gateway passes blocks of any type on, and the pretend Claude, unlike Claude, takes those it does not know."""
    turns = body.get("messages") if isinstance(body, dict) else None
    contents = [turn.get("content") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return any(isinstance(block, dict) and block.get("type") != "text" for block in blocks)
