"""The name under which an end user is counted and kept: a keyed hash, so that nobody reads the name back."""

from __future__ import annotations

import hmac

from gateway.core.keys import Peppers


class Pseudonyms:
    """Makes pseudonyms: of the same user always the same one, 32 hex digits.

    Args:
        peppers: The oldest of them is the key, not the current one: a user stays the same when a pepper is added.
    """

    def __init__(self, peppers: Peppers) -> None:
        self._key = peppers.secrets[min(peppers.secrets)]

    def __call__(self, user: str) -> str:
        """Return the pseudonym of the application's own name for a user."""
        return hmac.digest(self._key, b"end user:" + user.encode("utf-8", "replace"), "sha256").hex()[:32]
