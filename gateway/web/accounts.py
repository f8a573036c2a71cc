"""What operators ask of tenants' limits: where they stand, and whether they are what the ledger says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from gateway.core.errors import StoreUnavailable
from gateway.core.principal import Principal
from gateway.core.quota.calendar import Calendar
from gateway.core.quota.grants import active
from gateway.core.quota.holds import HoldStore
from gateway.core.quota.limits import LimitSet, plan_of_anonymous
from gateway.identity.records import KeyRow, TenantRow
from gateway.identity.store import Store
from gateway.ledger.books import Books
from gateway.web.entitlements import Entitlements
from gateway.web.reconcile import Owner, Reconciliation
from gateway.web.standing import standing


class Accounts:
    """Answers operators. What it raises is StoreError for the database, and StoreUnavailable for the store of limits.

    Args:
        store: Tenants and keys.
        books: The ledger.
        entitlements: What plans allow.
        holds: The store of limits.
        calendar: Where days and months begin.
        pseudonym: Names end users as the store does.
    """

    def __init__(
        self,
        store: Store,
        books: Books,
        entitlements: Entitlements,
        holds: HoldStore,
        calendar: Calendar,
        pseudonym: Callable[[str], str],
    ) -> None:
        self._store = store
        self._books = books
        self._entitlements = entitlements
        self._holds = holds
        self._calendar = calendar
        self._pseudonym = pseudonym

    async def quotas(self, name: str, user: str | None = None) -> dict[str, Any]:
        """Return where all limits of a tenant stand, and those of one of its end users."""
        tenant, keys = await asyncio.to_thread(self._account, name)
        end_user = self._pseudonym(user) if user else None
        found = await standing(tenant, keys, self._entitlements, self._holds, time.time(), end_user)
        return {"tenant": tenant.name, "plan": tenant.plan, "limits": [each.as_json() for each in found]}

    async def differences(self, name: str | None = None) -> dict[str, Any]:
        """Return what limits have counted otherwise than the ledger, of one tenant or of all."""
        tenants, keys = await asyncio.to_thread(self._accounts, name)
        owners = _Owners(tenants, keys, self._entitlements)
        compared = Reconciliation(self._books, self._holds, owners.limits, self._calendar)
        found = await compared.differences(name)
        return {"differences": [each.as_json() for each in found]}

    def _account(self, name: str) -> tuple[TenantRow, list[KeyRow]]:
        return self._store.fetch_tenant(name), self._store.list_keys(name)

    def _accounts(self, name: str | None) -> tuple[list[TenantRow], list[KeyRow]]:
        tenants = self._store.list_tenants() if name is None else [self._store.fetch_tenant(name)]
        return tenants, self._store.list_keys(name)


class _Owners:
    """Says which limits those have whom the ledger names."""

    def __init__(self, tenants: Sequence[TenantRow], keys: Sequence[KeyRow], entitlements: Entitlements) -> None:
        self._tenants = {row.name: row for row in tenants}
        self._keys = {row.id: row for row in keys}
        self._entitlements = entitlements
        self._now = time.time()

    def limits(self, owner: Owner) -> LimitSet | None:
        """Return the limits of whoever used something, None if a plan of theirs is gone."""
        tenant, anonymous = self._tenants.get(owner.tenant), plan_of_anonymous(owner.key_id)
        if tenant is None:
            return None
        if anonymous is not None:
            principal = Principal(tenant.name, None, anonymous, None, "")
        else:
            key = self._keys.get(owner.key_id)
            plan = None if key is None else key.plan
            grants = active(tenant.grants, self._now)
            principal = Principal(tenant.name, owner.key_id, tenant.plan, plan, "", grants=grants)
        try:
            return self._entitlements.of(principal).limits
        except StoreUnavailable:
            return None
