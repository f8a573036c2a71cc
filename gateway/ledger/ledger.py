"""The ledger of one process: opened, looked after, and closed.

- Requests of workers that are gone are ended, and rows that will not change are added to the sums of their days, every
  minute, in a thread.
- What the database says of itself is logged once per change.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from sqlalchemy import Engine

from gateway.database.errors import StoreError
from gateway.database.opening import open_database
from gateway.ledger.books import Books
from gateway.ledger.journal import Journal
from gateway.ledger.settings import LedgerSettings
from gateway.ledger.writer import SWITCH_INTERVAL, Writer

# How often it is looked whether the database takes rows, and in how many looks dead workers are looked for.
_LOOK_EVERY = 1.0
_LOOKS = 60

log = structlog.get_logger()


class Ledger:
    """The ledger of this process.

    Attributes:
        writer: Takes rows.
        books: Answers questions.
        worker_id: Names this process in its rows; no other process ever has it.
    """

    def __init__(self, engine: Engine, directory: Path, settings: LedgerSettings) -> None:
        self.worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.books = Books(engine)
        self.writer = Writer(
            engine,
            Journal(directory, self.worker_id),
            limit=settings.timeout,
            max_waiting=settings.max_waiting,
        )
        self._problem: str | None = None

    async def look_after(self) -> None:
        """Do what is to be done now and then, until cancelled."""
        looks = 0
        while True:
            self._tell_problem()
            if not looks % _LOOKS:
                await self.tidy()
            looks += 1
            await asyncio.sleep(_LOOK_EVERY)

    async def tidy(self) -> None:
        """End what dead workers left, and add up what will not change."""
        try:
            await asyncio.to_thread(self.writer.adopt)
            claimed = await asyncio.to_thread(self.books.claim, time.time())
            if claimed:
                log.warning("requests of workers that are gone were ended in the ledger", requests=len(claimed))
            while await asyncio.to_thread(self.books.roll_up, time.time()):
                pass
        except StoreError as error:
            log.warning("the ledger could not be tidied up", reason=str(error))

    def _tell_problem(self) -> None:
        problem, before = self.writer.ping(), self._problem
        self._problem = problem
        if problem is not None and before is None:
            log.error("the ledger's database takes no rows; they go to the journal", reason=problem)
        elif problem is None and before is not None:
            log.info("the ledger's database takes rows again")


@asynccontextmanager
async def open_ledger(
    database_url: str, directory: Path, settings: LedgerSettings, *, busy_timeout: float
) -> AsyncIterator[Ledger]:
    """Open the ledger for as long as the context lasts; at its end everything is written.

    Args:
        database_url: As for :func:`~gateway.database.opening.open_database`.
        directory: Of the journal.
        settings: ``[ledger]``.
        busy_timeout: Seconds to wait for another's lock.

    Raises:
        StoreError: The database cannot be used.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    engine = open_database(database_url, busy_timeout=busy_timeout)
    try:
        ledger = Ledger(engine, directory, settings)
        try:
            await asyncio.to_thread(ledger.writer.adopt)
            yield ledger
        finally:
            await ledger.writer.close(settings.flush_timeout)
    finally:
        engine.dispose()
