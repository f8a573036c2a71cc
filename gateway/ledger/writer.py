"""The writer of the ledger: what the event loop tells it is in the journal at once, and in the database soon after.

- A row is appended to the journal by the loop itself: 20 microseconds, where waking a thread for it takes 100. From
  then on it survives the death of the process. One thread hands over what came in ``GATHER`` in one transaction, which
  waits for the disk.
- An admission is done with that where the database is a file beside it, SQLite's. Where the database is elsewhere it
  waits until that has the row, ``limit`` at most, and then until the journal is on the disk.
- Rows may be written twice and in any order (``statements.merge``), so nobody has to know what a database that failed
  in the middle of a commit has kept: it is all written again.
- A database that fails is tried again ``RETRY`` later. One that stands still keeps its thread, and nobody else: the
  loop sees that nothing moves, and has the journal reach the disk.
- What the journal does not take is kept in memory and given to the database; an admission that neither takes is
  refused. The end of a request never is.
- Memory has a bound: admissions are refused and ends lost at ``max_waiting`` rows that the journal did not take.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, TypeVar

from sqlalchemy import Engine

from gateway.database.errors import DatabaseFailed, database_errors
from gateway.database.transactions import transaction
from gateway.ledger.journal import Journal, JournalFailed
from gateway.ledger.rows import Admitted, Checkpoint, Completed, Row, done_row, open_row
from gateway.ledger.statements import merge

# Seconds for which a database that failed is left alone.
RETRY = 1.0
# Seconds for which rows wait for others in the journal: a transaction costs twenty times what a row in it does.
GATHER = 0.1
# Seconds for which an admission waits for others where many come and are waited for: a busy loop is woken less often.
CROWD = 0.004

# For sys.setswitchinterval, in seconds; the program sets it, because it is the whole process's. Python's own 5 ms begin
# anew whenever the event loop lets go of the interpreter's lock for a moment: beside a loop that never rests and has
# turns of 2 ms, rows took up to 1.4 s to a SQLite file and 19 s to PostgreSQL, and with this 22 and 59 ms.
SWITCH_INTERVAL = 0.001

_T = TypeVar("_T")


class _Kept(NamedTuple):
    """A row that the journal did not take; ``admission`` is who waits for it, None for the end of a request."""

    row: Row
    admission: asyncio.Future[None] | None = None


class _Awaited(NamedTuple):
    future: asyncio.Future[None]
    in_journal: bool


class LedgerUnavailable(Exception):
    """A row is neither in the database nor in the journal; the sentence says why."""


class Writer:
    """Takes rows on one event loop; a thread of its own hands them to the database.

    Args:
        engine: From ``open_database``.
        journal: Of this process; the writer opens and closes it.
        limit: Seconds that an admission waits for the database at most.
        max_waiting: Rows in memory at most that the journal does not take, about 1 KiB each.
    """

    def __init__(self, engine: Engine, journal: Journal, *, limit: float = 0.25, max_waiting: int = 20_000) -> None:
        self._engine = engine
        self._journal = journal
        # Looked at twice within the limit: what is as old as the time between two looks is late.
        self._look_every = limit / 2
        self._max_waiting = max_waiting
        self._elsewhere = engine.dialect.name != "sqlite"
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # Admissions in the journal that wait for the database, for the thread; and all that wait, for the loop.
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._awaited: deque[_Awaited] = deque()
        self._kept: deque[_Kept] = deque()
        # How often the thread had all that waited on some disk, now and when the loop looked last.
        self._rounds = self._seen = 0
        self._in_hand = self._stuck = False
        self._rescue: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._problem: str | None = None
        self._no_journal = ""  # why it took no row last
        self._lost = 0
        self._news = threading.Event()
        self._urgent = threading.Event()
        self._crowded = False  # whether several admissions came together last
        self._stopping = False
        with suppress(JournalFailed):  # the first row says so
            journal.open()
        self._thread = threading.Thread(target=self._hand_over_all, name="ledger", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that the database does not have yet."""
        return self._journal.depth + len(self._kept)

    @property
    def journal_depth(self) -> int:
        """The same while the database fails or stands still, else 0: some are always on their way."""
        return self.waiting if self._problem or self._stuck else 0

    @property
    def lost(self) -> int:
        """Rows that could be written nowhere and were too many to keep; 0 or the disk was full for long."""
        return self._lost

    def ping(self) -> str | None:
        """Return why the database took no rows last, for readiness and the log; None while all is well."""
        return self._problem if self._thread.is_alive() else "stopped"

    def admit(self, admitted: Admitted, checkpoint: Checkpoint) -> asyncio.Future[None]:
        """Return a future that is done when the row would survive a crash; it fails with LedgerUnavailable.

        Raises:
            LedgerUnavailable: Too many rows wait.
        """
        row = open_row(admitted, checkpoint)
        future: asyncio.Future[None] = self._loop.create_future()
        in_journal = self._in_journal(row)
        if in_journal and not self._elsewhere:
            future.set_result(None)
            return future
        if in_journal:
            self._waiters.append(future)
        elif len(self._kept) < self._max_waiting:
            self._kept.append(_Kept(row, future))
        else:
            raise LedgerUnavailable(f"{self._no_journal}; {self._max_waiting} rows wait for the database")
        self._awaited.append(_Awaited(future, in_journal))
        self._urge()
        if self._stuck:
            self._have_rescued()
        return future

    def checkpoint(self, admitted: Admitted, checkpoint: Checkpoint) -> None:
        """Note what a request has used by now, and prolong its lease."""
        self._in_journal(open_row(admitted, checkpoint))

    def complete(self, admitted: Admitted, completed: Completed) -> None:
        """Note how a request ended."""
        row = done_row(admitted, completed)
        if not self._in_journal(row):
            self._keep([_Kept(row)])
            self._urge()

    def adopt(self) -> int:
        """Write what processes that died have left in their journals, and return how many rows those were.

        It waits for the database: call it from a thread, at the start before the books are read, and before
        ``Books.claim`` ends what is still open.

        Raises:
            DatabaseFailed: What is left stays where it is.
        """
        return self._journal.hand_over_of_the_dead(self._write)

    async def close(self, within: float) -> None:
        """Have everything written: by the database ``within`` seconds, else by the journal. Tell it nothing more."""
        self._stopping = True
        self._urge()
        await asyncio.to_thread(self._thread.join, within)
        if self._timer is not None:
            self._timer.cancel()
        if self._rescue is not None:
            await self._rescue
        if self._thread.is_alive():
            with suppress(JournalFailed):
                await asyncio.to_thread(self._journal.sync)
        else:
            await asyncio.to_thread(self._journal.close)

    # On the loop.

    def _in_journal(self, row: Row) -> bool:
        try:
            self._journal.append([row])
        except JournalFailed as error:
            self._no_journal = str(error)
            return False
        if not self._news.is_set():
            self._news.set()
            self._look_later()
        return True

    def _urge(self) -> None:
        self._urgent.set()
        self._news.set()
        self._look_later()

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._look_every, self._look)

    def _look(self) -> None:
        """See whether the thread moves; if it does not, have the journal reach the disk without it."""
        self._timer = None
        while self._awaited and self._awaited[0].future.done():
            self._awaited.popleft()
        busy = self._in_hand or bool(self.waiting)
        self._stuck = self._rounds == self._seen and busy
        self._seen = self._rounds
        if self._stuck:
            self._have_rescued()
        if busy:
            self._look_later()

    def _have_rescued(self) -> None:
        if self._rescue is None or self._rescue.done():
            self._rescue = self._loop.create_task(self._rescued())

    async def _rescued(self) -> None:
        """Have those who wait told as if the database failed."""
        slow = self._problem or "the database is too slow"
        while True:
            waiting = self._not_told()
            _resolve([one.future for one in waiting if not one.in_journal], f"{slow}; {self._no_journal}")
            failed = await asyncio.to_thread(self._sync)
            _resolve([one.future for one in waiting], failed and f"{slow}; {failed}")
            if not self._not_told():
                return

    def _not_told(self) -> list[_Awaited]:
        return [awaited for awaited in self._awaited if not awaited.future.done()]

    def _sync(self) -> str | None:
        """Have the journal reach the disk, or return why it does not."""
        try:
            self._journal.sync()
        except JournalFailed as error:
            return str(error)
        return None

    # In the thread.

    def _hand_over_all(self) -> None:
        last = False
        while not last:
            last = self._stopping
            self._in_hand = True
            self._round(last=last)
            self._rounds += 1
            self._in_hand = False
            if not self._stopping:
                self._wait()

    def _wait(self) -> None:
        """Return when there are rows and others had time to join them, or when the database is to be tried again."""
        self._news.wait(RETRY if self._problem else None)
        self._urgent.wait(GATHER)
        if self._crowded and not self._stopping:
            time.sleep(CROWD)
        self._urgent.clear()
        self._news.clear()

    def _round(self, *, last: bool) -> None:
        """Have what waits on some disk, and tell those who wait for that."""
        waiters, kept = _taken(self._waiters), _taken(self._kept)
        if self._in_database(kept, at_once=last):
            waiters += [one.admission for one in kept if one.admission is not None]
            self._crowded = len(waiters) > 1
            self._tell(waiters, None)
            return
        waiters += self._in_journal_after_all(kept)
        failed = self._sync()
        self._tell(waiters, failed and f"{self._problem}; {failed}")

    def _in_database(self, kept: list[_Kept], *, at_once: bool) -> bool:
        if time.monotonic() < self._retry_at and not at_once:
            return False
        try:
            self._journal.hand_over(self._write)
            if kept:
                self._write([one.row for one in kept])
        except (DatabaseFailed, OSError) as error:
            self._problem = str(error)
            self._retry_at = time.monotonic() + RETRY
            return False
        self._problem = None
        return True

    def _in_journal_after_all(self, kept: list[_Kept]) -> list[asyncio.Future[None]]:
        """Append what was kept, and return the admissions; if it does not take them they are refused, ends kept on."""
        admissions = [one.admission for one in kept if one.admission is not None]
        if not kept:
            return []
        try:
            self._journal.append([one.row for one in kept])
        except JournalFailed as error:
            self._tell(admissions, f"{self._problem}; {error}")
            self._keep([one for one in kept if one.admission is None])
            return []
        return admissions

    def _keep(self, kept: list[_Kept]) -> None:
        room = max(0, self._max_waiting - len(self._kept))
        self._kept.extend(kept[:room])
        self._lost += len(kept[room:])

    def _write(self, rows: list[Row]) -> None:
        with database_errors("of the ledger"), transaction(self._engine, "add") as connection:
            merge(connection, rows)

    def _tell(self, futures: list[asyncio.Future[None]], failed: str | None) -> None:
        if futures:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_resolve, futures, failed)


def _taken(waiting: deque[_T]) -> list[_T]:
    found: list[_T] = []
    with suppress(IndexError):
        while True:
            found.append(waiting.popleft())
    return found


def _resolve(futures: Iterable[asyncio.Future[None]], failed: str | None) -> None:
    for future in futures:
        if future.done():
            continue
        if failed is None:
            future.set_result(None)
        else:
            future.set_exception(LedgerUnavailable(failed))
            future.exception()  # retrieved: whoever waits raises it, and a client that left leaves nobody
