"""What a request costs, in US dollars.

- Prices are of six classes: input, output, cache read, cache writes of 5 minutes and of an hour (all per million
  tokens) and web searches (per thousand). Input tokens exclude the cache's.
- Some models cost more for long prompts: the tier is chosen by all input tokens together, the cache's included, and
  holds for all tokens of the request.
- The table (``gateway/core/price_table.py``) is generated from the package ``genai-prices``, and not read from it at
  run time: importing it takes 0.6 s and 83 MB in each worker, for the 27 models that matter here.
- ``[prices."claude-opus-*"]`` in the configuration replaces single prices, in every tier. The longest pattern that
  matches counts; what it leaves out keeps its price.
- An unknown model is priced at the fallback, so that no name slips past a cap: the dearest known price of each class,
  or what ``[prices."*"]`` says. That pattern does not touch known models.
- Not told apart: batches (not served here) and ``speed: fast``, whose use is not part of a :class:`Usage`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.outcome import Usage
from gateway.core.price_table import MODELS

FALLBACK = "*"
# Names come from clients, and a price's pattern matches any number of them: the memory of lookups is bounded.
_REMEMBERED = 1024
_MILLION = 1_000_000

Source = Literal["known", "override", "fallback"]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PriceOverride(BaseModel):
    """Prices of the models that one pattern matches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Price | None = Field(None, examples=[5.0], description="US dollars per million input tokens.")
    output: Price | None = Field(
        None, examples=[25.0], description="US dollars per million output tokens, thinking included."
    )
    cache_read: Price | None = Field(
        None, examples=[0.5], description="US dollars per million tokens read from the prompt cache."
    )
    cache_write_5m: Price | None = Field(
        None, examples=[6.25], description="US dollars per million tokens written to the prompt cache for five minutes."
    )
    cache_write_1h: Price | None = Field(
        None, examples=[10.0], description="US dollars per million tokens written to the prompt cache for an hour."
    )
    web_searches: Price | None = Field(None, examples=[10.0], description="US dollars per thousand web searches.")


PriceOverrides = dict[str, PriceOverride]


class Rates(NamedTuple):
    """One tier of a model's prices; the fields are those of :class:`PriceOverride`."""

    input: float
    output: float
    cache_read: float
    cache_write_5m: float
    cache_write_1h: float
    web_searches: float

    def overridden(self, override: PriceOverride | None) -> Rates:
        """Return the rates with what ``override`` sets."""
        return self if override is None else self._replace(**override.model_dump(exclude_none=True))

    def cost(self, usage: Usage) -> float:
        """Return the price of ``usage``."""
        millionths = (
            usage.input_tokens * self.input
            + usage.output_tokens * self.output
            + usage.cache_read_tokens * self.cache_read
            + usage.cache_write_5m_tokens * self.cache_write_5m
            + usage.cache_write_1h_tokens * self.cache_write_1h
        )
        return millionths / _MILLION + usage.web_search_requests * self.web_searches / 1000


class _Tiers(NamedTuple):
    """A model's rates; each tier holds for more input tokens than its number, and the highest comes first."""

    source: Source
    tiers: tuple[tuple[int, Rates], ...]

    def at(self, input_tokens: int) -> Rates:
        """Return the rates of a request with that much input; the last tier starts at -1 and takes any."""
        return next(rates for over, rates in self.tiers if input_tokens > over)

    def upto(self, input_tokens: int) -> Rates:
        """Return the highest price of each class that a request with at most that much input can have."""
        reached = [rates for over, rates in self.tiers if input_tokens > over]
        return reached[0] if len(reached) == 1 else _highest(reached)


class _Model(NamedTuple):
    pattern: re.Pattern[str]
    tiers: tuple[tuple[int, Rates], ...]


def _table() -> tuple[_Model, ...]:
    return tuple(
        _Model(re.compile(pattern), tuple((over, Rates(*rates)) for over, rates in tiers))
        for _, pattern, tiers in MODELS
    )


def _dearest(models: tuple[_Model, ...]) -> Rates:
    """Return the highest price of each class that any model has in any tier."""
    return _highest([rates for model in models for _, rates in model.tiers])


def _highest(every: Iterable[Rates]) -> Rates:
    return Rates(*map(max, zip(*every, strict=True)))


class PriceBook:
    """Prices of all models, with what the configuration changes.

    Args:
        overrides: ``[prices."pattern"]`` of the configuration.
    """

    def __init__(self, overrides: Mapping[str, PriceOverride] | None = None) -> None:
        given = {pattern.lower(): override for pattern, override in (overrides or {}).items()}
        self._models = _table()
        self._fallback = _dearest(self._models).overridden(given.pop(FALLBACK, None))
        self._overrides = sorted(given.items(), key=lambda item: len(item[0]), reverse=True)
        self._tiers = lru_cache(maxsize=_REMEMBERED)(self._find)

    def cost(self, model: str, usage: Usage) -> float:
        """Return the US dollars that ``usage`` of ``model`` costs."""
        entered = usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
        return self._tiers(model).at(entered).cost(usage)

    def dearest(self, model: str, input_tokens: int) -> Rates:
        """Return the highest rates that a request to ``model`` with at most that much input can have."""
        return self._tiers(model).upto(input_tokens)

    def source(self, model: str) -> Source:
        """Return where the price of ``model`` comes from: the table, the configuration, or the fallback."""
        return self._tiers(model).source

    def known(self, model: str) -> bool:
        """Whether the table or the configuration has a price for ``model``; else it is the fallback's."""
        return self._tiers(model).source != "fallback"

    def _find(self, model: str) -> _Tiers:
        name = model.lower()
        override = next((found for pattern, found in self._overrides if fnmatchcase(name, pattern)), None)
        listed = next((entry.tiers for entry in self._models if entry.pattern.search(name)), None)
        tiers = listed or ((-1, self._fallback),)
        return _Tiers(
            "override" if override is not None else "known" if listed is not None else "fallback",
            tuple((over, rates.overridden(override)) for over, rates in tiers),
        )
