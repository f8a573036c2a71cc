"""The models that the pretend Claude lists: the names that Claude's SDK knows, paged as Claude does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.simulator.refusals import Refused, invalid

# Newest first, as Claude lists them: name, displayed name, day of release (made up for models later than 4.6).
_MODELS = (
    ("claude-fable-5-2", "Claude Fable 5.2", "2026-11-03"),
    ("claude-mythos-5-2", "Claude Mythos 5.2", "2026-11-03"),
    ("claude-haiku-5-5", "Claude Haiku 5.5", "2026-10-14"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-10-01"),
    ("claude-fable-5-1", "Claude Fable 5.1", "2026-09-09"),
    ("claude-opus-5-5", "Claude Opus 5.5", "2026-09-01"),
    ("claude-mythos-5-1", "Claude Mythos 5.1", "2026-08-20"),
    ("claude-sonnet-5", "Claude Sonnet 5", "2026-07-15"),
    ("claude-fable-5", "Claude Fable 5", "2026-07-01"),
    ("claude-mythos-5", "Claude Mythos 5", "2026-07-01"),
    ("claude-opus-5", "Claude Opus 5", "2026-06-15"),
    ("claude-opus-4-8", "Claude Opus 4.8", "2026-05-12"),
    ("claude-opus-4-7", "Claude Opus 4.7", "2026-04-14"),
    ("claude-sonnet-4-6", "Claude Sonnet 4.6", "2026-02-17"),
    ("claude-opus-4-6", "Claude Opus 4.6", "2026-02-05"),
    ("claude-opus-4-5-20251101", "Claude Opus 4.5", "2025-11-24"),
    ("claude-haiku-4-5-20251001", "Claude Haiku 4.5", "2025-10-15"),
    ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", "2025-09-29"),
)
_ALIASES = {name.rpartition("-20")[0]: name for name, _, _ in _MODELS if "-20" in name}
_MAX_LIMIT = 1000
_DEFAULT_LIMIT = 20
_YES, _NO = {"supported": True}, {"supported": False}


def model(name: str) -> dict[str, Any]:
    """Describe one model; ``latest`` aliases and any ``sim-`` name are known too."""
    name = _ALIASES.get(name, name)
    if name.startswith("sim-"):
        return _info(name, name, "2026-01-01")
    for known in _MODELS:
        if known[0] == name:
            return _info(*known)
    raise Refused(404, message=f"model: {name}")


def page(query: Mapping[str, str]) -> dict[str, Any]:
    """One page of the list, by ``limit``, ``after_id`` and ``before_id``."""
    limit = _limit(query.get("limit"))
    names = [name for name, _, _ in _MODELS]
    if "before_id" in query:
        end = _place(names, query["before_id"], "before_id")
        start = max(0, end - limit)
        more = start > 0
    else:
        start = _place(names, query["after_id"], "after_id") + 1 if "after_id" in query else 0
        end = min(len(names), start + limit)
        more = end < len(names)
    data = [_info(*known) for known in _MODELS[start:end]]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": more, "first_id": first, "last_id": last}


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit():
        raise invalid("limit: Input should be a valid integer, unable to parse string as an integer")
    if int(text) < 1:
        raise invalid("limit: Input should be greater than or equal to 1")
    if int(text) > _MAX_LIMIT:
        raise invalid(f"limit: Input should be less than or equal to {_MAX_LIMIT}")
    return int(text)


def _place(names: list[str], name: str, field: str) -> int:
    if name not in names:
        raise invalid(f"{field}: Invalid cursor")
    return names.index(name)


def _info(name: str, shown: str, day: str) -> dict[str, Any]:
    line = next((line for line in ("haiku", "sonnet", "opus", "fable", "mythos") if f"-{line}-" in name), None)
    return {
        "type": "model",
        "id": name,
        "display_name": shown,
        "created_at": f"{day}T00:00:00Z",
        "line": line,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": 200_000 if line == "haiku" else 1_000_000,
        "max_tokens": 64_000 if line == "haiku" else 128_000,
        "capabilities": _capabilities(),
    }


def _capabilities() -> dict[str, Any]:
    """What the pretend Claude can do, not what the model of that name can."""
    return {
        "batch": _NO,
        "citations": _NO,
        "code_execution": _NO,
        "context_management": {"supported": False},
        "effort": {"supported": False, "low": _NO, "medium": _NO, "high": _NO, "max": _NO},
        "image_input": _YES,
        "pdf_input": _YES,
        "server_tools": {"supported": False, "code_execution": _NO, "web_search": _NO},
        "structured_outputs": _YES,
        "thinking": {
            "supported": True,
            "types": {"adaptive": _YES, "between_tools": _YES, "disabled": _YES, "enabled": _YES},
        },
    }
