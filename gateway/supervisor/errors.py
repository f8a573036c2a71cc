"""What the supervisor cannot do, in words for the operator."""

from __future__ import annotations


class StartFailed(Exception):
    """Workers cannot start, or there is no address for them."""


class Refused(Exception):
    """The new configuration cannot be used; the message says why, a line for each reason."""
