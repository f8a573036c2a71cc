"""Rows of the store as plain values, and what authentication makes of them. Times are Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from gateway.core.quota.grants import Grant


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant.

    Attributes:
        cut_at: The revision at which its running streams were last to be stopped, 0 for never.
        grants: What was added to its limits, also what is over.
    """

    name: str
    plan: str
    created_at: float
    suspended_at: float | None
    cut_at: int
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key without its secret. ``cut_at`` as for a tenant."""

    id: str
    tenant: str
    plan: str | None
    hash: bytes = field(repr=False)
    pepper_version: int
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    rotated_from: str | None
    replaced_by: str | None
    cut_at: int

    def ended(self, now: float) -> bool:
        """Whether the key was revoked or has expired."""
        return self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= now)


class Rehash(NamedTuple):
    """A key's hash with the current pepper, and the version of the one that it was under."""

    key_id: str
    old_version: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change: who did what to whom, and when."""

    number: int
    at: float
    actor: str
    action: str
    target: str
    details: dict[str, object]


@dataclass(frozen=True, slots=True)
class Cut:
    """Running streams to stop: all of a tenant's, or all of a key's."""

    kind: Literal["tenant", "key"]
    name: str


@dataclass(frozen=True, slots=True)
class Changes:
    """One consistent read: what was asked for, and what changed since the revision that was given.

    ``revision`` counts every change ever made; a lower one than before means that another database took its place.
    """

    revision: int
    keys: tuple[KeyRow, ...] = ()
    tenants: tuple[TenantRow, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A verified key, as the request path needs it: what a principal is made from."""

    key_id: str
    tenant: str
    tenant_plan: str
    key_plan: str | None
    expires_at: float | None
    grants: tuple[Grant, ...] = ()
