"""The writer of the ledger: what the event loop tells it is in the database, or in the journal, soon after.

- One thread writes. What waits goes in one transaction; an admission goes at once, ends wait a moment for others.
- A row that was taken survives the death of the process. SQLite's survive that of the machine ``SYNC_EVERY`` later, so
  before any first token that takes longer: waiting for the disk in between would cost a short answer half its time.
- Rows may be written twice and in any order (``statements.merge``), so nobody has to know what a database that failed
  in the middle of a commit has kept: it is all written again.
- A database that fails has its rows go to the journal, and is tried again ``RETRY`` later. One that stands still keeps
  its thread: then a second thread takes what is being written and what waits to the journal, again and again until
  the first thread is back. ``limit`` is how long a row waits for that at most.
- An admission that neither of them takes is refused. The end of a request never is: it is kept, and tried again.
- Every buffer has a bound: admissions are refused at ``max_waiting``, checkpoints left out, and ends are as many as the
  requests that run.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue

from sqlalchemy import Engine

from gateway.database.errors import DatabaseFailed, database_errors
from gateway.database.transactions import transaction
from gateway.ledger.journal import Journal, JournalFailed
from gateway.ledger.line import Line
from gateway.ledger.rows import Admitted, Checkpoint, Completed, Row, done_row, open_row, storable
from gateway.ledger.statements import merge

# Seconds for which a database that failed is left alone.
RETRY = 1.0
# Seconds for which the ends of requests wait for others: a transaction costs ten times what a row in it does.
GATHER = 0.05
# Seconds for which an admission waits for others where many come: a busy loop is interrupted less often.
CROWD = 0.004
# Seconds after which what SQLite has committed is on the disk at the latest.
SYNC_EVERY = 0.05

# For sys.setswitchinterval, in seconds; the program sets it, because it is the whole process's. Python's own 5 ms begin
# anew whenever the event loop lets go of the interpreter's lock for a moment: beside a loop that never rests and has
# turns of 2 ms, rows took up to 1.4 s to a SQLite file and 19 s to PostgreSQL, and with this 22 and 59 ms.
SWITCH_INTERVAL = 0.001

_Entry = tuple[Row, asyncio.Future[None] | None]


class LedgerUnavailable(Exception):
    """A row is neither in the database nor in the journal; the sentence says why."""


class Writer:
    """Takes rows on one event loop and has them written by threads of its own.

    Args:
        engine: From ``open_database``.
        journal: Of this process.
        limit: Seconds after which a row that the database has not taken goes to the journal.
        max_waiting: Rows that wait at most, about 1 KiB each.
        max_batch: Rows in one transaction at most.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        *,
        limit: float = 0.25,
        max_waiting: int = 20_000,
        max_batch: int = 500,
    ) -> None:
        self._engine = engine
        self._journal = journal
        # Looked at twice within the limit: what is as old as the time between two looks is late.
        self._look_every = limit / 2
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # What the first thread does now, a list of its own for each; None while it waits for something to do.
        self._under_way: list[_Entry] | None = None
        self._seen: list[_Entry] | None = None
        # Admissions that are waited for, and since when by the loop's clock.
        self._awaited: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._kept: deque[_Entry] = deque()
        self._adopting = False
        self._retry_at = 0.0
        self._problem: str | None = None
        self._lost = 0
        self._alarm = threading.Event()
        self._urgent = threading.Event()
        self._crowded = False  # whether several admissions came together last
        self._line = Line(engine)
        self._sync_at = 0.0
        self._stopping = False
        self._writing = threading.Thread(target=self._write_all, name="ledger", daemon=True)
        self._rescuing = threading.Thread(target=self._rescue_all, name="ledger-journal", daemon=True)
        self._writing.start()
        self._rescuing.start()

    @property
    def waiting(self) -> int:
        """Rows that are not durable yet, but those being written."""
        return self._queue.qsize() + len(self._kept)

    @property
    def journal_depth(self) -> int:
        """Rows of this process in the journal."""
        return self._journal.depth

    @property
    def lost(self) -> int:
        """Rows that could be written nowhere and were too many to keep; 0 or the disk was full for long."""
        return self._lost

    def ping(self) -> str | None:
        """Return why the database took no rows last, for readiness and the log; None while all is well."""
        return self._problem if self._writing.is_alive() else "stopped"

    def admit(self, admitted: Admitted, checkpoint: Checkpoint) -> asyncio.Future[None]:
        """Return a future that is done when the row would survive a crash; it fails with LedgerUnavailable.

        Raises:
            LedgerUnavailable: Too many rows wait.
        """
        if self._queue.qsize() >= self._max_waiting:
            raise LedgerUnavailable(f"{self._max_waiting} rows wait to be written")
        future: asyncio.Future[None] = self._loop.create_future()
        self._awaited.append((self._loop.time(), future))
        self._put((open_row(admitted, checkpoint), future))
        if not self._urgent.is_set():
            self._urgent.set()
        return future

    def checkpoint(self, admitted: Admitted, checkpoint: Checkpoint) -> None:
        """Note what a request has used by now, and prolong its lease."""
        if self._queue.qsize() < self._max_waiting:
            self._put((open_row(admitted, checkpoint), None))

    def complete(self, admitted: Admitted, completed: Completed) -> None:
        """Note how a request ended."""
        self._put((done_row(admitted, completed), None))

    def adopt(self) -> int:
        """Write what processes that died have left in their journals, and return how many rows those were.

        It waits for the database: call it from a thread, before ``Books.claim`` ends what is still open.

        Raises:
            DatabaseFailed: What is left stays where it is.
        """
        return self._journal.hand_over_of_the_dead(self._write)

    async def close(self, within: float) -> None:
        """Have everything written: by the database ``within`` seconds, else by the journal. Tell it nothing more."""
        self._queue.put(None)
        self._urgent.set()
        await asyncio.to_thread(self._writing.join, within)
        self._stopping = True
        self._alarm.set()
        await asyncio.to_thread(self._rescuing.join)
        if self._timer is not None:
            self._timer.cancel()
        if not self._writing.is_alive() and await self._handed_over(within):
            self._journal.close()

    async def _handed_over(self, within: float) -> bool:
        """Have the database take what the second thread had in its hands when the first one ended."""
        if not self._journal.depth:
            return True
        last = threading.Thread(target=self._hand_over, args=(self._journal.hand_over,), name="ledger", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, within)
        return not last.is_alive()

    def _put(self, entry: _Entry) -> None:
        self._queue.put(entry)
        if self._timer is None:
            self._timer = self._loop.call_later(self._look_every, self._look)

    def _look(self) -> None:
        """Call for help if an admission is late, or if the first thread does what it did at the last look."""
        under_way = self._under_way
        if self._late() or (under_way is not None and under_way is self._seen):
            self._alarm.set()
        self._seen = under_way
        busy = under_way is not None or self._awaited or not self._queue.empty()
        self._timer = self._loop.call_later(self._look_every, self._look) if busy else None

    def _late(self) -> bool:
        awaited = self._awaited
        while awaited and awaited[0][1].done():
            awaited.popleft()
        return bool(awaited) and awaited[0][0] <= self._loop.time() - self._look_every

    def _write_all(self) -> None:
        """The first thread."""
        self._adopting = not self._hand_over(self._journal.hand_over_of_the_dead)
        going_on = True
        while going_on:
            batch, going_on = self._take()
            batch += self._kept_before()
            self._under_way = batch
            if batch and not self._in_database(batch):
                self._in_journal(batch)
            if self._adopting:
                self._adopting = not self._hand_over(self._journal.hand_over_of_the_dead)
            if self._journal.depth:
                self._hand_over(self._journal.hand_over)
            self._sync(now=not going_on)
            self._under_way = None

    def _take(self) -> tuple[list[_Entry], bool]:
        """Return what waits, or nothing when it is time to try the database again; False when it was the last."""
        trying = self._journal.depth or self._kept or self._adopting
        timeout = SYNC_EVERY if self._line.in_use else RETRY if trying else None
        try:
            entry = self._queue.get(timeout=timeout)
        except Empty:
            return [], True
        if entry is not None and entry[1] is None:  # an end waits for others, and for nobody who waits himself
            self._urgent.wait(GATHER)
        if self._crowded and not self._stopping:
            time.sleep(CROWD)
        self._urgent.clear()
        batch: list[_Entry] = []
        while entry is not None:
            batch.append(entry)
            if len(batch) == self._max_batch or self._queue.empty():
                return batch, True
            try:
                entry = self._queue.get_nowait()
            except Empty:  # the second thread was quicker
                return batch, True
        return batch, False

    def _in_database(self, batch: list[_Entry]) -> bool:
        if time.monotonic() < self._retry_at:
            return False
        try:
            self._line.write([storable(row) for row, _ in batch])
        except DatabaseFailed as error:
            self._failed(error)
            return False
        self._problem = None
        self._crowded = self._tell(batch, None) > 1
        return True

    def _in_journal(self, batch: list[_Entry]) -> None:
        """Write to the journal; what it does not take is refused to those who wait, and else kept."""
        try:
            self._journal.append([storable(row) for row, _ in batch])
        except JournalFailed as error:
            self._keep([entry for entry in batch if entry[1] is None])
            self._tell(batch, LedgerUnavailable(f"{self._problem or 'the database is too slow'}; {error}"))
        else:
            self._tell(batch, None)

    def _keep(self, entries: list[_Entry]) -> None:
        room = max(0, self._max_waiting - len(self._kept))
        self._kept.extend(entries[:room])
        self._lost += len(entries[room:])

    def _kept_before(self) -> list[_Entry]:
        found: list[_Entry] = []
        with suppress(IndexError):
            while True:
                found.append(self._kept.popleft())
        return found

    def _sync(self, *, now: bool = False) -> None:
        """Have what was written reach the disk, unless it was not long ago."""
        if not self._line.in_use or (not now and time.monotonic() < self._sync_at):
            return
        self._sync_at = time.monotonic() + SYNC_EVERY
        try:
            self._line.sync()
        except DatabaseFailed as error:
            self._failed(error)

    def _write(self, rows: list[Row]) -> None:
        with database_errors("of the ledger"), transaction(self._engine, "add") as connection:
            merge(connection, rows)

    def _hand_over(self, hand_over: Callable[[Callable[[list[Row]], None]], int]) -> bool:
        if time.monotonic() < self._retry_at:
            return False
        # One for all of it: who comes meanwhile does not wait until the whole journal is read, but goes into it.
        self._under_way = []
        try:
            hand_over(self._write)
        except (DatabaseFailed, OSError) as error:
            self._failed(error)
            return False
        self._problem = None
        return True

    def _failed(self, error: Exception) -> None:
        self._problem = str(error)
        self._retry_at = time.monotonic() + RETRY

    def _tell(self, batch: Iterable[_Entry], error: LedgerUnavailable | None) -> int:
        """Tell those who wait; return how many there were."""
        futures = [future for _, future in batch if future is not None]
        if futures:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_resolve, futures, error)
        return len(futures)

    def _rescue_all(self) -> None:
        """The second thread: it sleeps until the first one is late, and until the end."""
        rescued: list[_Entry] | None = None
        last = False
        while not last:
            self._alarm.wait()
            self._alarm.clear()
            last = self._stopping
            late = self._under_way
            batch = [] if late is None or late is rescued else list(late)
            batch += self._left_in_queue()
            batch += self._kept_before() if last else []
            rescued = late
            if batch:
                self._in_journal(batch)

    def _left_in_queue(self) -> list[_Entry]:
        found: list[_Entry] = []
        last = False
        with suppress(Empty):
            while True:
                entry = self._queue.get_nowait()
                last = last or entry is None
                if entry is not None:
                    found.append(entry)
        if last:
            self._queue.put(None)
        return found


def _resolve(futures: list[asyncio.Future[None]], error: LedgerUnavailable | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
            future.exception()  # retrieved: whoever waits raises it, and a client that left leaves nobody
