"""The store of limits is of no use now: what is told, and whether that speaks against the store."""

from __future__ import annotations

from gateway.core.errors import StoreUnavailable

_MESSAGE = "Limits cannot be counted now."
_RETRY_AFTER = 1.0


class StoreIncomplete(StoreUnavailable):
    """The store answers, and what one tenant used is not loaded into it yet; the others' is."""


def unavailable(detail: str) -> StoreUnavailable:
    """Return the error for a store that does not answer, or with an error."""
    return StoreUnavailable(_MESSAGE, retry_after=_RETRY_AFTER, detail=detail)


def incomplete(detail: str) -> StoreIncomplete:
    """Return the error for a store that lacks what a tenant used."""
    return StoreIncomplete(_MESSAGE, retry_after=_RETRY_AFTER, detail=detail)
