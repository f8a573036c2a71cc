"""``RateLimit`` and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers-11), and ``Retry-After``.

- Both fields are lists of structured-field strings with parameters; they name the same limits in the same order:
  the tightest three, by what is left of the limit. Without limits there are no fields: an empty list is not allowed.
- ``RateLimit-Policy``: ``q`` the quota, ``w`` the window, ``qu`` the unit, where it is not the default (requests). Of
  dollars it is millionths, because there are no fractions.
- ``RateLimit``: ``r`` what is left, ``t`` the seconds until more may be left. Concurrency has no time.
- Times are whole seconds, rounded up, so that coming back then is never too early; ``Retry-After`` is at least 1.
- No ``pk``: partition keys would tell tenants, users and addresses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import ceil

from gateway.core.quota.holds import LimitState
from gateway.core.quota.limits import Unit

_SHOWN = 3
_UNITS = {
    "concurrent": "concurrent-requests",
    "input_tokens": "input-tokens",
    "output_tokens": "output-tokens",
    "tokens": "tokens",
    "usd": "usd-millionths",
}
_MAX_INTEGER = 999_999_999_999_999  # RFC 9651, section 3.3.1
_NOT_IN_STRINGS = re.compile(r"[^\x20-\x7e]")
_REMEMBERED = 1024  # names come from the configuration: a few dozen


def ratelimit_headers(states: Sequence[LimitState]) -> dict[str, str]:
    """Return the two fields for an answer, admitted or refused; none without limits."""
    if not states:
        return {}
    shown = sorted(states, key=_left)[:_SHOWN]
    return {
        "RateLimit": ", ".join(map(_service_limit, shown)),
        "RateLimit-Policy": ", ".join([_policy(state.name, state.unit, state.limit, state.window) for state in shown]),
    }


def quota_warning(states: Sequence[LimitState], warn_at: float) -> dict[str, str]:
    """Return the header that names the budgets of which more than a share is used or held; none if there are none."""
    full = [state for state in states if state.span is not None and state.used + state.held >= warn_at * state.limit]
    if not full:
        return {}
    return {"X-Tokenweir-Quota-Warning": ", ".join(f"{state.name};used={_share(state)}%" for state in full)}


def retry_after(seconds: float) -> str:
    """Return the value of ``Retry-After``."""
    return str(max(1, ceil(seconds)))


def _share(state: LimitState) -> int:
    return (state.used + state.held) * 100 // state.limit


def _left(state: LimitState) -> tuple[float, int]:
    """Order by the share that is left; of equal shares the smaller number runs out first."""
    return state.remaining / state.limit, state.remaining


def _service_limit(state: LimitState) -> str:
    item = f"{_string(state.name)};r={_in_integers(state.unit, state.remaining)}"
    return item if state.reset is None else f"{item};t={_integer(state.reset)}"


@lru_cache(_REMEMBERED)
def _policy(name: str, unit: Unit, limit: int, window: float | None) -> str:
    item = f"{_string(name)};q={_in_integers(unit, limit)}"
    if unit != "requests":
        item += f';qu="{_UNITS[unit]}"'
    return item if window is None else f"{item};w={max(1, _integer(window))}"


@lru_cache(_REMEMBERED)
def _string(text: str) -> str:
    """Return a structured-field string: printable ASCII, in quotes."""
    escaped = _NOT_IN_STRINGS.sub("?", text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _in_integers(unit: Unit, amount: int) -> int:
    """Return an amount as the fields can say it: of dollars the millionths, for there is nothing but integers."""
    return min(amount // 1000 if unit == "usd" else amount, _MAX_INTEGER)


def _integer(number: float) -> int:
    return min(_MAX_INTEGER, max(0, ceil(number)))
