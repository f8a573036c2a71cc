"""Keys under an older pepper are hashed anew when somebody brings them: only then is their text at hand.

- A thread of its own writes, once a refresh: requests and the reading of keys wait for nobody else's lock.
- What cannot be written is tried again. What waits has a bound: more is noted when it is used another time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from gateway.core.keys import Key, Peppers
from gateway.database.errors import StoreError
from gateway.identity.records import KeyRow, Rehash

_MOST = 1000  # rows of one transaction

Write = Callable[[Peppers, list[Rehash]], None]


class Rehashing:
    """What waits to be written.

    Args:
        write: Keeps keys under the current pepper; raises StoreError. Only ever called from the own thread.
        peppers: The current one is for all keys.
    """

    def __init__(self, write: Write, peppers: Peppers) -> None:
        self._write = write
        self._peppers = peppers
        self._waiting: dict[str, Rehash] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._writing: Future[bool] | None = None
        self._written: list[Rehash] = []

    def note(self, key: Key, row: KeyRow) -> None:
        """Take a key that was found to be genuine."""
        if row.pepper_version != self._peppers.current and len(self._waiting) < _MOST:
            self._waiting[key.id] = Rehash(key.id, row.pepper_version, self._peppers.hash(key))

    def start(self) -> None:
        """Write what waits, unless that is under way."""
        if self._writing is not None:
            if not self._writing.done():
                return
            if not self._writing.result():
                self._waiting |= {rehash.key_id: rehash for rehash in self._written}
            self._writing = None
        if self._waiting:
            self._written, self._waiting = list(self._waiting.values()), {}
            self._executor = self._executor or ThreadPoolExecutor(1, thread_name_prefix="rehash")
            self._writing = self._executor.submit(self._try, self._written)

    def close(self) -> None:
        """Let go of the thread; what waits is noted by the next process."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _try(self, found: list[Rehash]) -> bool:
        try:
            self._write(self._peppers, found)
        except StoreError:
            return False
        return True
