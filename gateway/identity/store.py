"""Tenants and keys: every rule of changing them. Synchronous; the event loop reads it from a worker thread.

- A change is one transaction: the next revision, the rows, and its audit row with the actor. All or nothing.
- A change that is already so (suspending twice, revoking twice) succeeds and writes nothing.
- A refusal (``Refused``) is a sentence that names what was wrong and what would be right; a database that fails is
  ``DatabaseFailed``. Every method may raise both.
- A full key leaves this module once, in the answer to ``create_key`` and ``rotate``.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, insert, select, update

from gateway.core.keys import Key, Peppers, new_key
from gateway.core.quota.grants import Grant, active
from gateway.database.errors import Refused, database_errors
from gateway.database.transactions import Access, transaction
from gateway.identity import queries
from gateway.identity.records import AuditRow, Changes, KeyRow, Rehash, TenantRow
from gateway.identity.tables import audit, keys, revision, tenants

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Store:
    """The database of tenants and keys, in the name of one actor.

    Args:
        engine: From ``open_database``; the caller disposes of it.
        actor: Who the audit names: ``cli:<os user>``, ``gateway``.
        clock: Unix seconds.
    """

    def __init__(self, engine: Engine, *, actor: str, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._actor = actor
        self._clock = clock

    def create_tenant(self, name: str, plan: str = "default") -> TenantRow:
        """Make a tenant. Refuses a malformed name and one that is taken."""
        _check_name(name)
        with self._transaction("change") as connection:
            if queries.find_tenant(connection, name) is not None:
                raise Refused(f"tenant {name!r} exists already")
            return self._insert_tenant(connection, name, plan)

    def ensure_tenant(self, name: str, plan: str = "default") -> TenantRow:
        """Return the tenant, made with ``plan`` if it was missing: for names that the configuration mentions."""
        _check_name(name)
        with self._transaction("change") as connection:
            return queries.find_tenant(connection, name) or self._insert_tenant(connection, name, plan)

    def list_tenants(self) -> list[TenantRow]:
        """Return all tenants by name."""
        with self._transaction("read") as connection:
            return queries.all_tenants(connection)

    def fetch_tenant(self, name: str) -> TenantRow:
        """Return one tenant. Refuses an unknown name."""
        with self._transaction("read") as connection:
            return queries.the_tenant(connection, name)

    def suspend(self, name: str, *, cut_streams: bool = False) -> TenantRow:
        """Refuse the tenant's requests from now on; with ``cut_streams`` also stop the ones that run."""
        with self._transaction("change") as connection:
            row = queries.the_tenant(connection, name)
            if row.suspended_at is None or cut_streams:
                number = self._record(connection, "tenant.suspend", name, cut_streams=cut_streams)
                values = {
                    "suspended_at": self._clock() if row.suspended_at is None else row.suspended_at,
                    "cut_at": number if cut_streams else row.cut_at,
                    "changed_at": number,
                }
                connection.execute(update(tenants).where(tenants.c.name == name).values(values))
            return queries.the_tenant(connection, name)

    def resume(self, name: str) -> TenantRow:
        """Serve a suspended tenant again."""
        with self._transaction("change") as connection:
            if queries.the_tenant(connection, name).suspended_at is not None:
                number = self._record(connection, "tenant.resume", name)
                values = {"suspended_at": None, "changed_at": number}
                connection.execute(update(tenants).where(tenants.c.name == name).values(values))
            return queries.the_tenant(connection, name)

    def grant(self, name: str, limits: Mapping[str, float], until: float) -> TenantRow:
        """Add to limits of a tenant until a moment, in place of what was granted before; 0 ends that."""
        with self._transaction("change") as connection:
            now = self._clock()
            if until <= now and any(limits.values()):
                raise Refused("the grant would have ended already")
            row = queries.the_tenant(connection, name)
            left = [grant for grant in active(row.grants, now) if grant.limit not in limits]
            granted = [*left, *(Grant(limit, amount, until) for limit, amount in limits.items() if amount)]
            number = self._record(connection, "tenant.grant", name, limits=dict(limits), until=until)
            values = {"grants": [list(grant) for grant in granted], "changed_at": number}
            connection.execute(update(tenants).where(tenants.c.name == name).values(values))
            return queries.the_tenant(connection, name)

    def create_key(
        self, tenant: str, peppers: Peppers, *, plan: str | None = None, expires_at: float | None = None
    ) -> tuple[KeyRow, Key]:
        """Make a key; it is returned here and never again. Refuses a suspended tenant and a time that has passed."""
        with self._transaction("change") as connection:
            _refuse_suspended(queries.the_tenant(connection, tenant))
            if expires_at is not None and expires_at <= self._clock():
                raise Refused("the key would have expired already")
            return self._insert_key(connection, "key.create", tenant, peppers, plan=plan, expires_at=expires_at)

    def list_keys(self, tenant: str | None = None) -> list[KeyRow]:
        """Return the keys of one tenant or of all, the oldest first, ended ones included."""
        with self._transaction("read") as connection:
            if tenant is not None:
                queries.the_tenant(connection, tenant)
            return queries.all_keys(connection, tenant)

    def fetch_key(self, key_id: str) -> KeyRow:
        """Return one key. Refuses an unknown id."""
        with self._transaction("read") as connection:
            return queries.the_key(connection, key_id)

    def revoke(self, key_id: str, *, cut_streams: bool = False) -> KeyRow:
        """End a key for good; with ``cut_streams`` also stop the requests that it has running."""
        with self._transaction("change") as connection:
            row = queries.the_key(connection, key_id)
            if row.revoked_at is None or cut_streams:
                number = self._record(connection, "key.revoke", key_id, tenant=row.tenant, cut_streams=cut_streams)
                values = {
                    "revoked_at": self._clock() if row.revoked_at is None else row.revoked_at,
                    "cut_at": number if cut_streams else row.cut_at,
                    "changed_at": number,
                }
                connection.execute(update(keys).where(keys.c.id == key_id).values(values))
            return queries.the_key(connection, key_id)

    def rotate(self, key_id: str, peppers: Peppers, *, overlap: float = 0.0) -> tuple[KeyRow, Key]:
        """Make a key's successor: same tenant and plan, as long a life; the old one ends after ``overlap`` seconds."""
        with self._transaction("change") as connection:
            old, now = queries.the_key(connection, key_id), self._clock()
            _refuse_rotation(old, now)
            _refuse_suspended(queries.the_tenant(connection, old.tenant))
            life = None if old.expires_at is None else old.expires_at - old.created_at
            successor = self._insert_key(
                connection,
                "key.rotate",
                old.tenant,
                peppers,
                plan=old.plan,
                expires_at=None if life is None else now + life,
                rotated_from=old.id,
            )
            values = {
                "expires_at": min(now + overlap, old.expires_at or float("inf")),
                "replaced_by": successor[0].id,
            }
            number = self._record(connection, "key.replace", old.id, tenant=old.tenant, **values)
            connection.execute(update(keys).where(keys.c.id == old.id).values(**values, changed_at=number))
            return successor

    def revision(self) -> int:
        """Return the number of changes ever made."""
        with self._transaction("read") as connection:
            return queries.current_revision(connection)

    def read(self, since: int | None, key_ids: Sequence[str] = (), tenant_names: Sequence[str] = ()) -> Changes:
        """Return the named keys and tenants, the keys' tenants, and all that changed after revision ``since``.

        Without ``since`` only what is named. One statement when nothing is named and nothing changed.
        """
        with self._transaction("read") as connection:
            number = queries.current_revision(connection)
            found = {key.id: key for key in queries.keys_by_id(connection, key_ids)}
            names = {*tenant_names, *(key.tenant for key in found.values())}
            owners = {tenant.name: tenant for tenant in queries.tenants_by_name(connection, names)}
            if since is not None and since != number:
                found |= {key.id: key for key in queries.changed_keys(connection, since)}
                owners |= {tenant.name: tenant for tenant in queries.changed_tenants(connection, since)}
            return Changes(number, tuple(found.values()), tuple(owners.values()))

    def pepper_problems(self, peppers: Peppers) -> list[str]:
        """Return a sentence for each pepper that live keys need and ``peppers`` lacks; to be asked at start."""
        with self._transaction("read") as connection:
            use = queries.pepper_use(connection, self._clock())
        return [
            f"{live} live key(s) were made with another pepper of version {version} than the one given "
            "and are refused: restore the pepper file or TOKENWEIR_KEY_PEPPER, or revoke them"
            for version, fingerprint, live in use
            if live and (version not in peppers.secrets or peppers.fingerprint(version) != fingerprint)
        ]

    def rehash(self, peppers: Peppers, found: Sequence[Rehash]) -> None:
        """Keep keys under the current pepper; one that is not under the old one any more is left alone.

        Nothing changes for anybody: no revision, no audit.
        """
        with self._transaction("change") as connection:
            queries.remember_pepper(connection, peppers)
            for key_id, version, digest in found:
                same = (keys.c.id == key_id, keys.c.pepper_version == version)
                connection.execute(update(keys).where(*same).values(hash=digest, pepper_version=peppers.current))

    def live_keys_by_pepper(self) -> dict[int, int]:
        """Return how many live keys each pepper has that was ever used."""
        with self._transaction("read") as connection:
            return {version: live for version, _, live in queries.pepper_use(connection, self._clock())}

    def record(self, action: str, target: str, **details: object) -> None:
        """Have the audit name what an operator did to something else than tenants and keys."""
        with self._transaction("change") as connection:
            self._record(connection, action, target, **details)

    def audit(self) -> list[AuditRow]:
        """Return every change, the oldest first."""
        with self._transaction("read") as connection:
            return queries.all_audit(connection)

    @contextmanager
    def _transaction(self, access: Access) -> Iterator[Connection]:
        with database_errors("of keys and tenants"), transaction(self._engine, access) as connection:
            yield connection

    def _record(self, connection: Connection, action: str, target: str, **details: object) -> int:
        """Write the audit row and return the revision of the change, which its rows are stamped with."""
        values = {"at": self._clock(), "actor": self._actor, "action": action, "target": target, "details": details}
        connection.execute(insert(audit).values(values))
        following = update(revision).values(number=revision.c.number + 1).returning(revision.c.number)
        return int(connection.execute(following).scalar_one())

    def _insert_tenant(self, connection: Connection, name: str, plan: str) -> TenantRow:
        number = self._record(connection, "tenant.create", name, plan=plan)
        values = {"name": name, "plan": plan, "created_at": self._clock(), "changed_at": number}
        connection.execute(insert(tenants).values(values))
        return queries.the_tenant(connection, name)

    def _insert_key(
        self, connection: Connection, action: str, tenant: str, peppers: Peppers, **values: object
    ) -> tuple[KeyRow, Key]:
        queries.remember_pepper(connection, peppers)
        key = new_key(secrets.token_bytes)
        number = self._record(connection, action, key.id, tenant=tenant, **values)
        row = values | {
            "id": key.id,
            "tenant_id": select(tenants.c.id).where(tenants.c.name == tenant).scalar_subquery(),
            "hash": peppers.hash(key),
            "pepper_version": peppers.current,
            "created_at": self._clock(),
            "changed_at": number,
        }
        connection.execute(insert(keys).values(row))
        return queries.the_key(connection, key.id), key


def _check_name(name: str) -> None:
    if NAME.fullmatch(name) is None:
        raise Refused(
            f"{name!r} is not a name for a tenant: 1 to 63 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
        )


def _refuse_suspended(tenant: TenantRow) -> None:
    if tenant.suspended_at is not None:
        raise Refused(f"tenant {tenant.name!r} is suspended; resume it first")


def _refuse_rotation(key: KeyRow, now: float) -> None:
    if key.replaced_by is not None:
        raise Refused(f"key {key.id} was rotated already, to {key.replaced_by}")
    if key.revoked_at is not None:
        raise Refused(f"key {key.id} is revoked; create a new one")
    if key.ended(now):
        raise Refused(f"key {key.id} has expired; create a new one")
