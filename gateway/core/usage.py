"""Claude's usage objects, folded into tokens by price class.

- Usage is cumulative: of every field the last value wins; adding them up would count double.
- ``null`` says nothing; an explicit zero is a zero.
- Cache writes are split by lifetime in ``cache_creation``; what the total has beyond the split counts as five minutes.
- ``iterations`` lists what a turn was made of. Compaction and advisor iterations are not in the sums beside it: they
  are charges of their own. A ``fallback_message`` says that another model than the one asked for served the turn.
"""

from __future__ import annotations

from typing import Any

from gateway.core.outcome import Usage

_SUMS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_DETAILS = {
    "output_tokens_details": ("thinking_tokens",),
    "server_tool_use": ("web_search_requests",),
    "cache_creation": ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
}
_NOT_IN_SUMS = ("compaction", "advisor_message")


class Tally:
    """The usage of one message, as far as it was told.

    Attributes:
        output_told: Whether the output was summed up, so that nothing of it need be estimated.
    """

    __slots__ = ("_fields", "_iterations", "output_told")

    def __init__(self) -> None:
        self._fields: dict[str, int] = {}
        self._iterations: list[dict[str, Any]] = []
        self.output_told = False

    def fold(self, usage: Any, *, final: bool) -> None:
        """Take a usage object.

        Args:
            usage: What came; anything but an object says nothing.
            final: Whether its output is a running total, not the first count of ``message_start``.
        """
        if not isinstance(usage, dict):
            return
        told = self._keep(usage, _SUMS)
        for group, names in _DETAILS.items():
            if isinstance(details := usage.get(group), dict):
                self._keep(details, names)
        if isinstance(iterations := usage.get("iterations"), list):
            self._iterations = [entry for entry in iterations if isinstance(entry, dict)]
        if final and "output_tokens" in told:
            self.output_told = True

    def usage(self, estimate: int = 0, entered: int = 0) -> Usage | None:
        """Return the tokens, None when none were told or received.

        Args:
            estimate: Output tokens that were received, by our own count; used where Claude has not summed up.
            entered: Input tokens by our own estimate; used where Claude tells none.
        """
        told = self._fields
        if not told and not estimate:
            return None
        if "input_tokens" in told:
            entered = 0
        one_hour = told.get("ephemeral_1h_input_tokens", 0)
        written = told.get("cache_creation_input_tokens", one_hour + told.get("ephemeral_5m_input_tokens", 0))
        one_hour = min(one_hour, written)
        output = told.get("output_tokens", 0)
        return Usage(
            input_tokens=told.get("input_tokens", entered),
            output_tokens=output if self.output_told else max(output, estimate),
            thinking_tokens=told.get("thinking_tokens", 0),
            cache_read_tokens=told.get("cache_read_input_tokens", 0),
            cache_write_5m_tokens=written - one_hour,
            cache_write_1h_tokens=one_hour,
            web_search_requests=told.get("web_search_requests", 0),
            estimated=not self.output_told or bool(entered),
        )

    def served_by(self) -> str | None:
        """Return the fallback model that served the turn, None when the one asked for did."""
        names = [entry.get("model") for entry in self._iterations if entry.get("type") == "fallback_message"]
        return next((name for name in reversed(names) if isinstance(name, str)), None)

    def beside(self) -> list[tuple[str | None, Usage]]:
        """Return what is billed besides the sums, each with its model, None for the message's own."""
        return [charge for entry in self._iterations if (charge := _charge(entry)) is not None]

    def _keep(self, told: dict[str, Any], names: tuple[str, ...]) -> dict[str, int]:
        """Keep the counts among some fields, and return them; a boolean is none, although Python's are numbers."""
        counts = {name: count for name in names if (count := told.get(name)).__class__ is int and count >= 0}
        self._fields.update(counts)
        return counts


def _charge(iteration: dict[str, Any]) -> tuple[str | None, Usage] | None:
    if iteration.get("type") not in _NOT_IN_SUMS:
        return None
    tally = Tally()
    tally.fold(iteration, final=True)
    usage, model = tally.usage(), iteration.get("model")
    return None if usage is None else (model if isinstance(model, str) else None, usage)
