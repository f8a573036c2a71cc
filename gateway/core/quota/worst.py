"""The most that a request can cost, before Claude is asked.

- Input is priced at the dearest class that can apply: a write to the cache only where the request can write to it.
  Of a model with tiers, the dearest that the input can reach counts.
- Each of ``fallbacks`` is one more attempt, which reads the request and what was put out before: Claude counts what a
  model put out before it declined and what the next one does (recorded: 40 and 30 tokens, in a sum of 70).
- Claude reads everything again after each search of its own. The results of one are taken for 20,000 tokens: Claude
  documents no limit, and 5,000 to 12,000 were recorded.
- Other tools that Claude runs itself have no bound: they are called as often as the model likes (code execution, tool
  search, what an MCP server offers), ask another model (advisor), or bring documents of any size (web fetch). Nor has
  a search from code, which the newer versions of the search make. They are named, so that a budget can refuse them.
- An estimate, not a proof: :mod:`gateway.core.quota.estimate` says how often it is too low.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from gateway.core.pricing import PriceBook, Rates
from gateway.core.quota.estimate import LARGEST_CONTEXT, estimate_input, weights_of

_TOKENS_PER_SEARCH = 20_000
_BOUNDED_SEARCH = "web_search_20250305"
# Tools that the client runs, so that nothing happens between two requests.
_CLIENT_TOOL = re.compile(r"custom|(?:bash|computer|computer_toolset|browser_toolset|memory|text_editor)_\d{8}")
_UNBOUNDED_FIELDS = ("compaction", "container", "mcp_servers", "thread")
_RARE = frozenset({*_UNBOUNDED_FIELDS, "context_management", "fallbacks", "speed"})
_REGIONAL = 1.1  # what Claude asks for inference in one region
_MOST = (1 << 31) - 1  # no more tokens or searches than this are believed
_LONGEST_NAME = 64  # a caller's own words, which may be shown
_MILLION = 1_000_000
_NO_REGION = (None, "global")
_USUAL_SPEED = (None, "standard")


@dataclass(frozen=True, slots=True)
class Worst:
    """What a request costs at most.

    Attributes:
        input_tokens: Of all classes, over all searches and attempts.
        output_tokens: The most that the attempts may put out together.
        usd_nano: Everything, in billionths of a US dollar, rounded up.
        input_usd_nano: What reading the request once costs at the same class, rounded up: what is owed as soon as
            Claude has it.
        entered_tokens: What Claude reads at first.
        unbounded: The part of the request that has no bound, None without one. The numbers leave it out.
    """

    input_tokens: int
    output_tokens: int
    usd_nano: int
    input_usd_nano: int
    entered_tokens: int
    unbounded: str | None


def worst_case(fields: Mapping[str, Any], prices: PriceBook) -> Worst:
    """Return the most that a request costs.

    Args:
        fields: The decoded JSON of a request to Claude's Messages API.
        prices: What its models cost.
    """
    attempts = _attempts(fields)
    entered = estimate_input(fields, max(weights_of(model) for model, _ in attempts))
    searches, unbounded = _server_tools(fields.get("tools"))
    input_tokens = output_tokens = 0
    usd = once = 0.0
    for model, max_tokens in attempts:
        read = _read(entered.tokens + output_tokens, max_tokens, searches)
        rates = prices.dearest(model, read)
        price = _input_price(rates, entered.cache)
        once = max(once, entered.tokens * price)
        usd += read * price + max_tokens * rates.output + searches * rates.web_searches * _MILLION / 1000
        input_tokens += read
        output_tokens += max_tokens
    region = 1.0 if fields.get("inference_geo") in _NO_REGION else _REGIONAL
    return Worst(
        input_tokens,
        output_tokens,
        _nano(usd * region),
        _nano(once * region),
        entered.tokens,
        _unbounded_field(fields) or unbounded or entered.unbounded,
    )


def _attempts(fields: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return the model and ``max_tokens`` of each attempt, the request's own first."""
    max_tokens = _count(fields.get("max_tokens"))
    attempts = [(_name(fields.get("model")), max_tokens)]
    for entry in _objects(fields.get("fallbacks")):
        named = entry.get("max_tokens")
        attempts.append((_name(entry.get("model")), max_tokens if named is None else _count(named)))
    return attempts


def _read(tokens: int, max_tokens: int, searches: int) -> int:
    """Return what Claude reads in all: everything once, and everything and the results again after each search."""
    again = searches * (tokens + max_tokens) + _TOKENS_PER_SEARCH * searches * (searches + 1) // 2
    return min(tokens + again, (searches + 1) * LARGEST_CONTEXT)


def _input_price(rates: Rates, cache: str) -> float:
    """Return US dollars per million tokens, of the dearest class."""
    if not cache:
        return rates.input
    written = max(rates.input, rates.cache_read, rates.cache_write_5m)
    return max(written, rates.cache_write_1h) if cache == "1h" else written


def _server_tools(tools: Any) -> tuple[int, str | None]:
    """Return how many searches Claude may make, and the kind of a tool that has no bound."""
    searches, unbounded = 0, None
    for tool in _objects(tools):
        kind = tool.get("type")
        if kind is None or (isinstance(kind, str) and _CLIENT_TOOL.fullmatch(kind)):
            continue
        if kind == _BOUNDED_SEARCH and tool.get("max_uses") is not None and _only_direct(tool):
            searches += _count(tool["max_uses"])
        else:
            unbounded = f"tools.{kind[:_LONGEST_NAME]}" if isinstance(kind, str) else "tools"
    return searches, unbounded


def _only_direct(tool: Mapping[str, Any]) -> bool:
    """Whether only the model calls it: code that it writes may do so any number of times."""
    return tool.get("allowed_callers") in (None, ["direct"])


def _unbounded_field(fields: Mapping[str, Any]) -> str | None:
    if fields.keys().isdisjoint(_RARE):
        return None
    for name in _UNBOUNDED_FIELDS:
        if fields.get(name) not in (None, []):
            return name
    if not isinstance(fields.get("fallbacks"), list | None):
        return "fallbacks"
    if any(entry.get("speed") not in _USUAL_SPEED for entry in (fields, *_objects(fields.get("fallbacks")))):
        return "speed"
    return None if _only_clears(fields.get("context_management")) else "context_management"


def _only_clears(management: Any) -> bool:
    """Whether a request only drops parts of its own; anything else may be a summary, which is billed apart."""
    edits = management.get("edits") if isinstance(management, dict) else management
    if edits is None:
        return True
    return isinstance(edits, list) and all(
        isinstance(edit, dict) and str(edit.get("type")).startswith("clear_") for edit in edits
    )


def _count(value: Any) -> int:
    """Return a number of tokens or searches; what is none, Claude refuses."""
    return min(max(value, 0), _MOST) if isinstance(value, int) else 0


def _name(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _nano(millionths: float) -> int:
    """Return billionths of what was counted in millionths, rounded up; 0.1 and the like are not exact in binary."""
    return ceil(round(millionths * 1000, 3))
