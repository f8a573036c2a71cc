"""Keys and tenants as the request path sees them: in memory, verified, and never older than a refresh.

- ``cached`` is synchronous and touches no database. It answers for keys that were seen and are in order; None means
  nothing more than "ask ``authenticate``", which finds out or refuses.
- One reader at a time, in a worker thread of its own, serves both the poll and the look-ups of keys not seen yet:
  a round takes everything that waits, so the database's load has a bound however many unknown keys are thrown at us.
- A round is one consistent read of what is wanted and of what changed since the last; its result is applied in one
  synchronous step, in order. Nothing can be older than the poll said.
- While the database fails, keys in memory go on working and others are refused with StoreUnavailable; ``ping`` tells.
- A key that is under an older pepper moves to the current one when it is used (``rehashing.py``).
- The answer for an unknown, malformed, wrong, expired or revoked key is one and the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

from gateway.core.errors import GatewayError, Overloaded, StoreUnavailable, TenantSuspended, Unauthenticated
from gateway.core.keys import Peppers, key_id_in, parse_key
from gateway.database.errors import DatabaseFailed
from gateway.identity.lru import Lru
from gateway.identity.records import Changes, Cut, KeyRecord, KeyRow, Rehash, TenantRow
from gateway.identity.rehashing import Rehashing
from gateway.identity.settings import KeySettings

UNAUTHENTICATED = "No valid API key was given."
_SUSPENDED = "This account is suspended."
_UNAVAILABLE = "API keys cannot be checked at the moment."

_Entry = tuple[KeyRow, TenantRow]
_Verified = tuple[KeyRow, TenantRow, bytes, KeyRecord]


class Source(Protocol):
    """Where keys and tenants are read from: ``Store``."""

    def read(self, since: int | None, key_ids: list[str], tenant_names: list[str]) -> Changes:
        """Return what is named and what changed since; raises DatabaseFailed."""

    def rehash(self, peppers: Peppers, found: list[Rehash]) -> None:
        """Keep keys under the current pepper; raises StoreError."""


class Directory:
    """The cache in front of the store. The application runs ``run`` in its task group for as long as it serves.

    Args:
        source: The store, only ever called from the directory's own thread.
        peppers: To verify keys with.
        settings: Bounds and deadlines.
        anonymous: Tenants that browsers are mapped to; always in memory once the first read succeeded.
        on_cut: Called on the event loop when running streams of a tenant or key are to be stopped. What was
            authenticated before it and is not known to the callee yet would be missed: register a stream without an
            await between ``cached`` (or ``authenticate``) and the registration, or ask ``cached`` once more after it.
    """

    def __init__(
        self,
        source: Source,
        peppers: Peppers,
        settings: KeySettings,
        *,
        anonymous: Iterable[str] = (),
        on_cut: Callable[[Cut], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._peppers = peppers
        self._rehashing = Rehashing(source.rehash, peppers)
        self._refresh = settings.refresh
        self._read_timeout = settings.read_timeout
        self._max_lookups = settings.max_lookups
        self._on_cut = on_cut
        self._anonymous: dict[str, TenantRow | None] = dict.fromkeys(anonymous)
        self._keys: Lru[str, KeyRow] = Lru(settings.cache_size)
        self._tenants: Lru[str, TenantRow] = Lru(settings.cache_size)
        self._unknown: Lru[str, bool] = Lru(settings.max_unknown)
        # Of each key the rows and the text that were found to belong together last; rows that changed are new ones.
        self._verified: Lru[str, _Verified] = Lru(settings.cache_size)
        self._revision: int | None = None
        self._waiting: dict[str, asyncio.Future[_Entry | None]] = {}
        self._synchronising: list[asyncio.Future[bool]] = []
        self._wanted = asyncio.Event()
        self._problem: str | None = "not read yet"

    def cached(self, credential: str, now: float) -> KeyRecord | None:
        """Return the record of a valid key that is in memory, else None: then throttle and call ``authenticate``."""
        entry = self._entry(key_id_in(credential))
        if entry is None:
            return None
        record = self._verify(credential, entry)
        return None if record is None or _refusal(entry, now) is not None else record

    def stands(self, record: KeyRecord, now: float) -> bool:
        """Whether a record is still that of a valid key in memory: cheaper than ``cached``, by a hash."""
        entry, known = self._entry(record.key_id), self._verified.get(record.key_id)
        if entry is None or known is None or known[3] is not record:
            return False
        return known[0] is entry[0] and known[1] is entry[1] and _refusal(entry, now) is None

    async def authenticate(self, credential: str, now: float) -> KeyRecord:
        """Return the record of a key, read from the store if need be.

        Raises:
            Unauthenticated: For every reason that concerns the key alone.
            TenantSuspended: The key is genuine and its tenant suspended.
            StoreUnavailable: The key is not in memory and the store does not answer.
            Overloaded: Too many keys are being looked up.
        """
        key = parse_key(credential)
        if key is None:
            raise Unauthenticated(UNAUTHENTICATED)
        entry = self._entry(key.id)
        if entry is None and key.id not in self._unknown:
            entry = await self._look_up(key.id)
        if entry is None:
            raise Unauthenticated(UNAUTHENTICATED)
        record = self._verify(credential, entry)
        if record is None:
            raise Unauthenticated(UNAUTHENTICATED)
        refusal = _refusal(entry, now)
        if refusal is not None:
            raise refusal
        return record

    def anonymous_tenant(self, name: str) -> TenantRow:
        """Return a tenant that the directory was made with.

        Raises:
            TenantSuspended: It is suspended.
            StoreUnavailable: It was never read.
        """
        row = self._anonymous[name]
        if row is None:
            raise StoreUnavailable(_UNAVAILABLE)
        if row.suspended_at is not None:
            raise TenantSuspended(_SUSPENDED)
        return row

    def ping(self) -> str | None:
        """Return why the last read failed, for readiness and the log; None while all is well."""
        return self._problem

    async def synchronise(self) -> bool:
        """Wait for a read that begins after this call, and return whether it succeeded in time.

        If so, all that was committed before the call is known. The application calls it once before it serves.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._synchronising.append(done)
        self._wanted.set()
        await asyncio.wait({done}, timeout=2 * self._read_timeout)
        return done.done() and done.result()

    async def run(self) -> None:
        """Poll and look up until cancelled."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="keys")
        try:
            while True:
                await self._round(executor)
                self._rehashing.start()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._refresh):
                        await self._wanted.wait()
        finally:
            self._problem = "stopped"
            self._give_up(self._waiting, self._synchronising)
            executor.shutdown(wait=False, cancel_futures=True)
            self._rehashing.close()

    async def _look_up(self, key_id: str) -> _Entry | None:
        future = self._waiting.get(key_id)
        if future is None:
            if len(self._waiting) >= self._max_lookups:
                raise Overloaded("Too many API keys are being looked up.", retry_after=1, limit="keys.max_lookups")
            future = self._waiting[key_id] = asyncio.get_running_loop().create_future()
            self._wanted.set()
        # Not `await future`: it is shared, and a client that leaves would cancel it for the others.
        await asyncio.wait({future}, timeout=self._read_timeout)
        if not future.done() or future.cancelled():
            raise StoreUnavailable(_UNAVAILABLE, retry_after=1)
        return future.result()

    async def _round(self, executor: ThreadPoolExecutor) -> None:
        """Read once for all who wait; a read past its limit fails them at once and is then waited for."""
        self._wanted.clear()
        waiting, self._waiting = self._waiting, {}
        synchronising, self._synchronising = self._synchronising, []
        missing = [name for name, row in self._anonymous.items() if row is None]
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(executor, self._read, self._revision, list(waiting), missing)
        try:
            done, _ = await asyncio.wait({reading}, timeout=self._read_timeout)
            if not done:
                self._problem = f"the database of keys and tenants did not answer within {self._read_timeout:g} s"
                self._give_up(waiting, synchronising)
            result = await reading
            if isinstance(result, Changes):
                self._problem = None
                self._apply(result, waiting)
            else:
                self._problem = str(result)
        finally:
            reading.cancel()  # a thread that is stuck while the loop ends has nobody to report to
            self._give_up(waiting, synchronising)

    def _read(self, since: int | None, key_ids: list[str], tenant_names: list[str]) -> Changes | DatabaseFailed:
        """In the worker thread. A failure is a value: nobody may be left to take an exception."""
        try:
            return self._source.read(since, key_ids, tenant_names)
        except DatabaseFailed as failure:
            return failure

    def _give_up(
        self, waiting: dict[str, asyncio.Future[_Entry | None]], synchronising: list[asyncio.Future[bool]]
    ) -> None:
        """Answer all who still wait for a round that is over."""
        for future in waiting.values():
            future.cancel()
        for done in synchronising:
            if not done.done():
                done.set_result(self._problem is None)

    def _apply(self, changes: Changes, waiting: dict[str, asyncio.Future[_Entry | None]]) -> None:
        """Make a read's result what is known, tell of the cuts in it, and answer those who wait."""
        before = self._revision
        if before is not None and changes.revision < before:
            self._forget()
        self._revision = changes.revision
        tenants = {row.name: row for row in changes.tenants}
        keys = {row.id: row for row in changes.keys}
        for name, tenant in tenants.items():
            self._tenants.put(name, tenant)
            if name in self._anonymous:
                self._anonymous[name] = tenant
        for key_id, key in keys.items():
            self._unknown.drop(key_id)
            if key_id in waiting or key_id in self._keys:
                self._keys.put(key_id, key)
        if before is not None:
            self._tell_cuts(changes, before)
        for key_id, future in waiting.items():
            found = keys.get(key_id)
            if found is None:
                self._unknown.put(key_id, value=True)
            if not future.done():
                future.set_result(None if found is None else (found, tenants[found.tenant]))

    def _tell_cuts(self, changes: Changes, since: int) -> None:
        for tenant in changes.tenants:
            if tenant.cut_at > since:
                self._on_cut(Cut("tenant", tenant.name))
        for key in changes.keys:
            if key.cut_at > since:
                self._on_cut(Cut("key", key.id))

    def _forget(self) -> None:
        """Drop everything: a revision that went back is another database, a restored backup for instance."""
        self._keys.clear()
        self._tenants.clear()
        self._unknown.clear()
        self._verified.clear()
        self._anonymous = dict.fromkeys(self._anonymous)
        self._wanted.set()

    def _entry(self, key_id: str) -> _Entry | None:
        key = self._keys.get(key_id)
        tenant = key and self._tenants.get(key.tenant)
        return (key, tenant) if key and tenant else None

    def _verify(self, credential: str, entry: _Entry) -> KeyRecord | None:
        """Return the record of a genuine key, None of any other. What was found genuine is recognised by its digest."""
        row, tenant = entry
        digest = hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()
        known = self._verified.get(row.id)
        if known and known[0] is row and known[1] is tenant and hmac.compare_digest(known[2], digest):
            return known[3]
        key = parse_key(credential)
        if key is None or not self._peppers.verify(key, row.pepper_version, row.hash):
            return None
        self._rehashing.note(key, row)
        record = KeyRecord(row.id, tenant.name, tenant.plan, row.plan, row.expires_at, tenant.grants)
        self._verified.put(row.id, (row, tenant, digest, record))
        return record


def _refusal(entry: _Entry, now: float) -> GatewayError | None:
    """Return why a genuine key is refused: nobody without the secret learns that a tenant is suspended."""
    row, tenant = entry
    if row.ended(now):
        return Unauthenticated(UNAUTHENTICATED)
    return TenantSuspended(_SUSPENDED) if tenant.suspended_at is not None else None
