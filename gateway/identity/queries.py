"""Statements of the store, each within a transaction that the caller holds. A missing row is a refusal with advice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select

from gateway.core.keys import Peppers, is_key_id
from gateway.core.quota.grants import Grant
from gateway.database.errors import Refused
from gateway.identity.records import AuditRow, KeyRow, TenantRow
from gateway.identity.tables import audit, keys, peppers, revision, tenants

_BATCH = 500  # values in one statement; older builds of SQLite take 999

_TENANTS = select(
    tenants.c.name, tenants.c.plan, tenants.c.created_at, tenants.c.suspended_at, tenants.c.cut_at, tenants.c.grants
)
_KEYS = select(
    keys.c.id,
    tenants.c.name,
    keys.c.plan,
    keys.c.hash,
    keys.c.pepper_version,
    keys.c.created_at,
    keys.c.expires_at,
    keys.c.revoked_at,
    keys.c.rotated_from,
    keys.c.replaced_by,
    keys.c.cut_at,
).join(tenants, keys.c.tenant_id == tenants.c.id)
_AUDIT = select(audit.c.number, audit.c.at, audit.c.actor, audit.c.action, audit.c.target, audit.c.details)


def _tenant(row: Row[*tuple[Any, ...]]) -> TenantRow:
    name, plan, created_at, suspended_at, cut_at, grants = row
    return TenantRow(name, plan, created_at, suspended_at, cut_at, tuple([Grant(*grant) for grant in grants]))


def current_revision(connection: Connection) -> int:
    """Return the number of changes ever made."""
    return int(connection.execute(select(revision.c.number)).scalar_one())


def find_tenant(connection: Connection, name: str) -> TenantRow | None:
    """Return the tenant, or None."""
    row = connection.execute(_TENANTS.where(tenants.c.name == name)).one_or_none()
    return None if row is None else _tenant(row)


def the_tenant(connection: Connection, name: str) -> TenantRow:
    """Return the tenant. Refuses an unknown name and suggests the nearest ones."""
    if (row := find_tenant(connection, name)) is not None:
        return row
    near = difflib.get_close_matches(name, connection.scalars(select(tenants.c.name)).all(), n=3, cutoff=0.5)
    advice = f"; did you mean {' or '.join(near)}?" if near else "; `tokenweir tenants list` shows them"
    raise Refused(f"there is no tenant {name!r}{advice}")


def the_key(connection: Connection, key_id: str) -> KeyRow:
    """Return the key. Refuses an unknown id, without repeating what may be a secret."""
    if not is_key_id(key_id):
        raise Refused("that is not the id of a key: 12 letters and digits, as `tokenweir keys list` shows them")
    row = connection.execute(_KEYS.where(keys.c.id == key_id)).one_or_none()
    if row is None:
        raise Refused(f"there is no key {key_id}; `tokenweir keys list` shows them")
    return KeyRow(*row)


def all_tenants(connection: Connection) -> list[TenantRow]:
    """Return all tenants by name."""
    return [_tenant(row) for row in connection.execute(_TENANTS.order_by(tenants.c.name))]


def all_keys(connection: Connection, tenant: str | None) -> list[KeyRow]:
    """Return the keys of one tenant or of all, the oldest first."""
    query = _KEYS.order_by(tenants.c.name, keys.c.created_at, keys.c.id)
    if tenant is not None:
        query = query.where(tenants.c.name == tenant)
    return [KeyRow(*row) for row in connection.execute(query)]


def all_audit(connection: Connection) -> list[AuditRow]:
    """Return every change, the oldest first."""
    return [AuditRow(*row) for row in connection.execute(_AUDIT.order_by(audit.c.number))]


def keys_by_id(connection: Connection, ids: Sequence[str]) -> Iterator[KeyRow]:
    """Return those of the keys that exist."""
    for some in _batches(ids):
        yield from (KeyRow(*row) for row in connection.execute(_KEYS.where(keys.c.id.in_(some))))


def tenants_by_name(connection: Connection, names: Iterable[str]) -> Iterator[TenantRow]:
    """Return those of the tenants that exist."""
    for some in _batches(sorted(names)):
        yield from (_tenant(row) for row in connection.execute(_TENANTS.where(tenants.c.name.in_(some))))


def changed_keys(connection: Connection, since: int) -> Iterator[KeyRow]:
    """Return the keys that changed after a revision."""
    return (KeyRow(*row) for row in connection.execute(_KEYS.where(keys.c.changed_at > since)))


def changed_tenants(connection: Connection, since: int) -> Iterator[TenantRow]:
    """Return the tenants that changed after a revision."""
    return (_tenant(row) for row in connection.execute(_TENANTS.where(tenants.c.changed_at > since)))


def remember_pepper(connection: Connection, pepper: Peppers) -> None:
    """Note the current pepper's fingerprint at its first use. Refuses another pepper under a version already used."""
    version, fingerprint = pepper.current, pepper.fingerprint(pepper.current)
    known = connection.scalar(select(peppers.c.fingerprint).where(peppers.c.version == version))
    if known is None:
        connection.execute(insert(peppers).values(version=version, fingerprint=fingerprint))
    elif known != fingerprint:
        raise Refused(
            f"keys were made with another pepper of version {version}; restore that one (the pepper file beside the "
            "database, or TOKENWEIR_KEY_PEPPER), or add the new one to it under the next version: 1:old,2:new"
        )


def pepper_use(connection: Connection, now: float) -> list[tuple[int, bytes, int]]:
    """Return version, fingerprint and number of live keys of each pepper that was ever used."""
    live = select(func.count()).where(
        keys.c.pepper_version == peppers.c.version,
        keys.c.revoked_at.is_(None),
        or_(keys.c.expires_at.is_(None), keys.c.expires_at > now),
    )
    rows = connection.execute(select(peppers.c.version, peppers.c.fingerprint, live.scalar_subquery()))
    return [(version, fingerprint, count) for version, fingerprint, count in rows]


def _batches(values: Sequence[str]) -> Iterator[Sequence[str]]:
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))
