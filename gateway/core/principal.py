"""Who is asking: what authentication hands to everything after it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.quota.grants import Grant


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one request.

    Attributes:
        tenant: The tenant's name; what quotas and metrics are kept by.
        key_id: The key's public id (``k7Qm...``, the part that may appear in logs); None for an anonymous browser.
        tenant_plan: Name of the plan of the tenant, or of the anonymous mapping.
        key_plan: Name of the key's own, narrower plan, if it has one.
        address: The client's address as limits count it (IPv6 by /64); never logged.
        end_user: The application's own user, pseudonymised; None when the request names none.
        grants: What the operator added to the tenant's limits, and is not over.
    """

    tenant: str
    key_id: str | None
    tenant_plan: str
    key_plan: str | None
    address: str
    end_user: str | None = None
    grants: tuple[Grant, ...] = ()

    @property
    def anonymous(self) -> bool:
        """Whether the request was attributed by its origin instead of authenticated by a key."""
        return self.key_id is None
