"""The journal: rows on this machine's disk while the database cannot have them.

- A row is a line: its CRC-32 in eight hex digits, a space, and JSON by names of columns. ``append`` waits for the disk.
- A line that was cut by a crash fits no checksum and is passed over: whoever wrote it was never told that it is there.
- Files are segments of one process, locked (flock) while it lives; those of processes that died are anybody's.
  A segment is removed after its rows are in the database. If that is interrupted, rows come twice: they may.
- The directory and its files are for their owner only (0700, 0600).
- One thread may append while another hands over.
"""

from __future__ import annotations

import fcntl
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from gateway.ledger.rows import COLUMNS, Row

# In data_dir: where the gateway keeps its journals, and the commands look for those of processes that are gone.
DIRECTORY = "journal"

_SUFFIX = ".journal"
_BATCH = 1000  # rows handed to the database in one transaction


class JournalFailed(Exception):
    """The disk is full or fails; nothing that was to be written is there."""


class Journal:
    """The journal of one process.

    Args:
        directory: Made if it is missing.
        worker_id: Names the files, so it holds no slash; no other process has it.
    """

    def __init__(self, directory: Path, worker_id: str) -> None:
        self._directory = directory
        self._worker_id = worker_id
        self._lock = threading.Lock()
        self._number = 0
        self._file = -1
        self._size = 0
        self._rows = 0
        self._waiting: list[tuple[Path, int, int]] = []

    @property
    def depth(self) -> int:
        """Rows of this process that wait for the database."""
        return self._rows + sum(rows for _, _, rows in self._waiting)

    def append(self, rows: list[Row]) -> None:
        """Write rows and wait for the disk.

        Raises:
            JournalFailed: None of them is in the journal.
        """
        data = b"".join(map(_line, rows))
        with self._lock:
            try:
                self._write(data)
            except OSError as error:
                raise JournalFailed(f"the journal {self._directory} cannot be written: {error.strerror}") from error
            self._rows += len(rows)

    def hand_over(self, write: Callable[[list[Row]], None]) -> int:
        """Have ``write`` take all rows, remove them, and return how many there were. What it raises leaves them here.

        Rows may be appended meanwhile, by another thread; they stay for the next time.
        """
        self.turn_over()
        handed = 0
        while self._waiting:
            path, file, rows = self._waiting[0]
            _replay(path, write)
            path.unlink()
            os.close(file)
            del self._waiting[0]
            handed += rows
        return handed

    def hand_over_of_the_dead(self, write: Callable[[list[Row]], None]) -> int:
        """The same for the rows of processes that are gone; to be called at start and now and then."""
        handed = 0
        for path in files_in(self._directory):
            file = _locked(path)
            if file is None:
                continue
            try:
                handed += _replay(path, write)
                path.unlink()
            finally:
                os.close(file)
        return handed

    def turn_over(self) -> None:
        """Have what follows go into a new file."""
        with self._lock:
            self._turn_over()

    def close(self) -> None:
        """Let others have what is left."""
        self.turn_over()
        for _, file, _ in self._waiting:
            os.close(file)
        self._waiting.clear()

    def _turn_over(self) -> None:
        if self._file >= 0:
            self._waiting.append((self._path(), self._file, self._rows))
            self._file, self._size, self._rows, self._number = -1, 0, 0, self._number + 1

    def _write(self, data: bytes) -> None:
        if self._file < 0:
            self._open()
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError:
            self._take_back()
            raise
        self._size += len(data)

    def _take_back(self) -> None:
        """Remove what is there of rows whose writer is told that they are not; or have what follows go elsewhere."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._turn_over()

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        while self._file < 0:
            try:
                file = os.open(self._path(), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                self._number += 1
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                _sync_directory(self._directory)
            except OSError:
                os.close(file)
                raise
            if os.fstat(file).st_nlink:
                self._file = file
            else:  # another process found it before the lock, took it for a dead one's, and removed it
                os.close(file)

    def _path(self) -> Path:
        return self._directory / f"{self._worker_id}-{self._number:06}{_SUFFIX}"


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def files_in(directory: Path) -> list[Path]:
    """Return the journals that are there, of whomever."""
    return sorted(directory.glob(f"*{_SUFFIX}"))


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file; lines that are damaged are passed over."""
    with path.open("rb") as lines:
        for line in lines:
            body = line[9:-1]
            if line[8:9] == b" " and line.endswith(b"\n") and line[:8] == _checksum(body):
                values = orjson.loads(body)
                yield tuple(values.get(name) for name in COLUMNS)


def _replay(path: Path, write: Callable[[list[Row]], None]) -> int:
    batch: list[Row] = []
    count = 0
    for row in read_rows(path):
        batch.append(row)
        count += 1
        if len(batch) == _BATCH:
            write(batch)
            batch = []
    if batch:
        write(batch)
    return count


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


def _line(row: Row) -> bytes:
    body = orjson.dumps(dict(zip(COLUMNS, row, strict=True)))
    return b"%b %b\n" % (_checksum(body), body)


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)
