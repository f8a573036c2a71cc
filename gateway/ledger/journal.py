"""The journal: every row on this machine's disk first, until the database has it.

- A line is a CRC-32 in eight hex digits, a space, and a JSON array: the names of columns in the first line of a file,
  then rows.
- What is appended survives the death of the process at once, and that of the machine after ``sync``. Appending waits
  for no disk: decision 22.
- A line that was cut by a crash fits no checksum and is passed over: whoever wrote it was never told that it is there.
- Files are segments of one process, locked (flock) while it lives; those of processes that died are anybody's.
  A segment is removed after its rows are in the database. If that is interrupted, rows come twice: they may.
- The directory and its files are for their owner only (0700, 0600).
- One thread appends, one hands over, and any may sync.
"""

from __future__ import annotations

import fcntl
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import orjson

from gateway.ledger.rows import COLUMNS, Row, storable

# In data_dir: where the gateway keeps its journals, and the commands look for those of processes that are gone.
DIRECTORY = "journal"

_SUFFIX = ".journal"
_BATCH = 1000  # rows handed to the database in one transaction


class JournalFailed(Exception):
    """The disk is full or fails; nothing that was to be written is there."""


@dataclass(slots=True)
class _Segment:
    path: Path
    file: int
    size: int = 0
    rows: int = 0


class Journal:
    """The journal of one process.

    Args:
        directory: Made if it is missing.
        worker_id: Names the files, so it holds no slash; no other process has it.
    """

    def __init__(self, directory: Path, worker_id: str) -> None:
        self._directory = directory
        self._worker_id = worker_id
        self._numbers = count()
        # Held for as long as a row is written, and while a segment is replaced: never while anybody waits for the disk.
        self._lock = threading.Lock()
        self._current: _Segment | None = None
        self._waiting: list[_Segment] = []

    @property
    def depth(self) -> int:
        """Rows of this process that the database does not have yet."""
        current = self._current
        return (current.rows if current else 0) + sum(segment.rows for segment in self._waiting)

    def open(self) -> None:
        """Make the first file, so that no row has to wait for it.

        Raises:
            JournalFailed: It cannot be made.
        """
        try:
            fresh = self._made()
        except OSError as error:
            raise self._failed(error) from error
        with self._lock:
            self._current = fresh

    def append(self, rows: list[Row]) -> None:
        """Write rows, so that they survive the death of the process.

        Raises:
            JournalFailed: None of them is in the journal.
        """
        data = b"".join(map(_row_line, rows))
        try:
            with self._lock:
                if self._current is None:
                    self._current = self._made()
                segment = self._current
                self._write(segment, data)
                segment.rows += len(rows)
        except OSError as error:
            raise self._failed(error) from error

    def sync(self) -> None:
        """Wait until what was appended before is on the disk.

        Raises:
            JournalFailed: Nobody knows how much of it is there.
        """
        try:
            for file in self._open_files():
                try:
                    os.fdatasync(file)
                finally:
                    os.close(file)
            _sync_directory(self._directory)
        except OSError as error:
            raise self._failed(error) from error

    def hand_over(self, write: Callable[[list[Row]], None]) -> int:
        """Have ``write`` take all rows, remove them, and return how many there were. What it raises leaves them here.

        Rows may be appended meanwhile, by another thread; they stay for the next time.
        """
        handed = self._hand_over_waiting(write)
        self._turn_over()
        return handed + self._hand_over_waiting(write)

    def hand_over_of_the_dead(self, write: Callable[[list[Row]], None]) -> int:
        """The same for the rows of processes that are gone; to be called at start and now and then."""
        handed = 0
        for path in files_in(self._directory):
            file = _locked(path)
            if file is None:
                continue
            try:
                handed += _replay(file, write)
                path.unlink()
            finally:
                os.close(file)
        return handed

    def close(self) -> None:
        """Let others have what is left, and leave no file without rows."""
        segments = [*self._waiting, *([self._current] if self._current else [])]
        self._waiting, self._current = [], None
        for segment in segments:
            if not segment.rows:
                segment.path.unlink(missing_ok=True)
            os.close(segment.file)

    def _hand_over_waiting(self, write: Callable[[list[Row]], None]) -> int:
        handed = 0
        while self._waiting:
            segment = self._waiting[0]
            _replay(segment.file, write)
            segment.path.unlink(missing_ok=True)
            with self._lock:
                del self._waiting[0]
            os.close(segment.file)
            handed += segment.rows
        return handed

    def _turn_over(self) -> None:
        """Have what follows go into a new file, which is made before the one that appends has to wait for it."""
        if self._current is None or not self._current.rows:
            return
        fresh = None
        with suppress(OSError):  # who appends next is told
            fresh = self._made()
        with self._lock:
            self._put_aside(self._current, fresh)

    def _put_aside(self, segment: _Segment, fresh: _Segment | None) -> None:
        self._waiting.append(segment)
        self._current = fresh

    def _write(self, segment: _Segment, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(segment.file, data[written:])
        except OSError:
            self._take_back(segment)
            raise
        segment.size += written

    def _take_back(self, segment: _Segment) -> None:
        """Remove what is there of rows whose writer is told that they are not; or have what follows go elsewhere."""
        try:
            os.ftruncate(segment.file, segment.size)
        except OSError:
            if segment is self._current:
                self._put_aside(segment, None)

    def _open_files(self) -> list[int]:
        """Return the files again: what is handed over meanwhile closes its own."""
        with self._lock:
            segments = [*self._waiting, *([self._current] if self._current else [])]
            return [os.dup(segment.file) for segment in segments if segment.rows]

    def _made(self) -> _Segment:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = self._directory / f"{self._worker_id}-{next(self._numbers):06}{_SUFFIX}"
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            segment = _Segment(path, file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file).st_nlink:
                    self._write(segment, _HEAD)
                    return segment
            except OSError:
                path.unlink(missing_ok=True)
                os.close(file)
                raise
            os.close(file)  # another process found it before the lock, took it for a dead one's, and removed it

    def _failed(self, error: OSError) -> JournalFailed:
        return JournalFailed(f"the journal {self._directory} cannot be written: {error.strerror}")


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def files_in(directory: Path) -> list[Path]:
    """Return the journals that are there, of whomever."""
    return sorted(directory.glob(f"*{_SUFFIX}"))


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, none if it is gone by now; lines that are damaged are passed over."""
    with suppress(FileNotFoundError), path.open("rb") as lines:
        yield from _rows(lines)


def _rows(lines: Iterator[bytes]) -> Iterator[Row]:
    columns = _values(next(lines, b""))
    if columns is None:
        return
    same = tuple(columns) == COLUMNS
    for line in lines:
        values = _values(line)
        if values is not None:
            yield tuple(values) if same else _as_of_now(dict(zip(columns, values, strict=True)))


def _values(line: bytes) -> list[Any] | None:
    body = line[9:-1]
    if line[8:9] == b" " and line.endswith(b"\n") and line[:8] == b"%08x" % zlib.crc32(body):
        return list(orjson.loads(body))
    return None


def _as_of_now(values: dict[str, Any]) -> Row:
    """Return the row of another version: without what that did not know."""
    return tuple(values.get(name) for name in COLUMNS)


def _replay(file: int, write: Callable[[list[Row]], None]) -> int:
    """Have all rows written; the file is read as it is open, wherever it is by now."""
    total = 0
    with open(os.dup(file), "rb") as lines:  # noqa: PTH123 - it has no path
        lines.seek(0)
        rows = _rows(lines)
        while batch := list(islice(rows, _BATCH)):
            write(batch)
            total += len(batch)
    return total


def _locked(path: Path) -> int | None:
    """Return an open file of a process that is gone; None if its process lives, or another has taken it over."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    if not path.exists():  # removed by the one that had the lock
        os.close(file)
        return None
    return file


def _row_line(row: Row) -> bytes:
    try:
        body = orjson.dumps(row)
    except TypeError:  # half a character, or an integer of more than 64 bits
        return _line(storable(row))
    return _checked(body)


def _line(values: Row) -> bytes:
    return _checked(orjson.dumps(values))


def _checked(body: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(body), body)


_HEAD = _line(COLUMNS)
