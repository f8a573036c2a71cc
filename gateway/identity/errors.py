"""What stops an operator's change: sentences for a command line, never sent to a client.

IdentityError
├── Refused         the change makes no sense; the sentence says why and what would
└── DatabaseFailed  the database cannot be read or written now
"""

from __future__ import annotations


class IdentityError(Exception):
    """Base of both."""


class Refused(IdentityError):
    """A change that the store's rules do not allow; nothing was written."""


class DatabaseFailed(IdentityError):
    """The database is missing, locked, damaged or too new; nothing was written."""
