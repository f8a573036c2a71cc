"""The journal: what is in it survives, what was not written whole does not count, each file is replayed by one."""

from __future__ import annotations

import fcntl
import os
import resource
import stat
import subprocess
import sys
import zlib

import pytest

from gateway.database.errors import DatabaseFailed
from gateway.ledger.journal import Journal, JournalFailed, files_in, read_rows
from gateway.ledger.rows import done_row, open_row

from .conftest import admitted, checkpoint, completed

ROWS = [open_row(admitted("a"), checkpoint()), done_row(admitted("b", model="ä\n"), completed())]

DIE = """
import os, signal, sys
from pathlib import Path
from gateway.database.errors import DatabaseFailed
from gateway.ledger.journal import Journal
from gateway.ledger.rows import Admitted, Checkpoint, Spent, open_row
journal = Journal(Path(sys.argv[1]), "dead")
admitted = Admitted("a", "shop", "k1", "", "m", "chat", "/", True, 0.0, "2025-11-24", "dead")
journal.append([open_row(admitted, Checkpoint(0.0, 10.0, Spent()))])
if sys.argv[2] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
print("written", flush=True)
sys.stdin.read()
"""


def handed_over(journal):
    found = []
    return journal.hand_over(found.extend), found


def test_rows_are_handed_over_as_they_were_and_then_gone(journal, tmp_path):
    journal.append(ROWS[:1])
    journal.append(ROWS[1:])
    assert journal.depth == 2
    assert handed_over(journal) == (2, ROWS)
    assert (journal.depth, list((tmp_path / "journal").iterdir())) == (0, [])
    assert handed_over(journal) == (0, [])


def test_files_are_for_their_owner_only(journal, tmp_path):
    umask = os.umask(0)
    journal.append(ROWS)
    os.umask(umask)
    (file,) = (tmp_path / "journal").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_what_the_database_did_not_take_stays(journal):
    def refuse(_rows):
        raise DatabaseFailed("away")

    journal.append(ROWS)
    with pytest.raises(DatabaseFailed):
        journal.hand_over(refuse)
    journal.append(ROWS[:1])
    assert journal.depth == 3
    assert handed_over(journal) == (3, [*ROWS, *ROWS[:1]])


def test_what_is_appended_during_a_hand_over_waits_for_the_next(journal):
    journal.append(ROWS)
    journal.hand_over(lambda rows: journal.append(rows[:1]))
    assert handed_over(journal) == (1, ROWS[:1])


def test_many_rows_are_handed_over_in_parts(journal):
    sizes = []
    journal.append(ROWS * 1250)
    journal.hand_over(lambda rows: sizes.append(len(rows)))
    assert sizes == [1000, 1000, 500]


def test_lines_that_are_torn_or_damaged_are_passed_over(journal, tmp_path):
    journal.append([*ROWS, *ROWS])
    (file,) = (tmp_path / "journal").iterdir()
    first, second, third, fourth = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second.replace(b"shop", b"stop") + b"\n" + b"nonsense\n" + third + fourth[:-1])
    assert list(read_rows(file)) == [ROWS[0], ROWS[0]]


def test_a_row_of_an_older_version_lacks_what_that_did_not_know(tmp_path):
    body = b'{"request_id":"a","gone":1}'
    (tmp_path / "x.journal").write_bytes(b"%08x %b\n" % (zlib.crc32(body), body))
    ((first, *others),) = read_rows(tmp_path / "x.journal")
    assert (first, set(others)) == ("a", {None})


def test_a_full_disk_is_told_and_leaves_no_part_of_a_row(journal, tmp_path):
    """A limit on the size of files fails as a full disk does: in the middle of a write."""
    journal.append(ROWS)
    (file,) = (tmp_path / "journal").iterdir()
    size = file.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
    try:
        with pytest.raises(JournalFailed, match="journal cannot be written: File too large"):
            journal.append(ROWS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (file.stat().st_size, journal.depth) == (size, 2)
    journal.append(ROWS)
    assert handed_over(journal) == (4, ROWS + ROWS)


def test_a_part_of_a_row_that_cannot_be_removed_spoils_no_row_after_it(journal, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    journal.append(ROWS)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        patch.setattr(os, "ftruncate", fail)
        with pytest.raises(JournalFailed, match="Input/output error"):
            journal.append(ROWS[:1])
    journal.append(ROWS[1:])
    assert handed_over(journal)[1] == [*ROWS, ROWS[0], ROWS[1]]


def test_a_directory_that_cannot_be_synced_is_told_and_tried_again(journal, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        for _ in range(2):
            with pytest.raises(JournalFailed, match="No space left"):
                journal.append(ROWS)
    journal.append(ROWS)
    assert handed_over(journal) == (2, ROWS)


def test_a_file_that_another_took_for_a_dead_ones_is_made_anew(journal, tmp_path, monkeypatch):
    """Between making and locking it, another process may find it, lock it, and remove it: it is empty."""
    lock, other = fcntl.flock, Journal(tmp_path / "journal", "w2")

    def late(file, operation):
        monkeypatch.undo()
        assert other.hand_over_of_the_dead(pytest.fail) == 0
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    journal.append(ROWS)
    assert handed_over(journal) == (2, ROWS)


def test_a_file_that_is_gone_by_the_time_it_is_opened_or_locked_was_anothers(journal, tmp_path, monkeypatch):
    for step, victim in ((os, "open"), (fcntl, "flock")):
        dead = Journal(tmp_path / "journal", "dead")
        dead.append(ROWS)
        dead.close()
        (path,) = (tmp_path / "journal").glob("dead-*")
        original = getattr(step, victim)

        def between(*arguments, path=path, original=original):
            monkeypatch.undo()
            path.unlink()
            return original(*arguments)

        monkeypatch.setattr(step, victim, between)
        assert journal.hand_over_of_the_dead(pytest.fail) == 0


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalFailed, match=r"Not a directory|File exists"):
        Journal(tmp_path / "file", "w1").append(ROWS)


def test_the_rows_of_a_process_that_was_killed_are_anybodys(journal, tmp_path):
    killed = subprocess.run([sys.executable, "-c", DIE, str(tmp_path / "journal"), "die"], check=False)
    assert killed.returncode == -9
    found = []
    assert journal.hand_over_of_the_dead(found.extend) == 1
    assert [row[0] for row in found] == ["a"]
    assert journal.hand_over_of_the_dead(found.extend) == 0


def test_the_rows_of_a_process_that_lives_are_its_own(journal, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", DIE, str(tmp_path / "journal"), "live"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as living:
        assert living.stdout.readline() == b"written\n"
        assert journal.hand_over_of_the_dead(pytest.fail) == 0
        living.stdin.close()
    assert journal.hand_over_of_the_dead(lambda _: None) == 1


def test_ones_own_rows_are_not_taken_for_those_of_the_dead(journal):
    journal.append(ROWS)
    assert journal.hand_over_of_the_dead(pytest.fail) == 0
    assert journal.depth == 2


def test_a_journal_that_was_closed_is_the_next_ones(journal, tmp_path):
    journal.append(ROWS)
    journal.close()
    assert Journal(tmp_path / "journal", "w2").hand_over_of_the_dead(lambda _: None) == 2


def test_the_journals_of_all_processes_are_found(journal, tmp_path):
    assert files_in(tmp_path / "journal") == []
    other = Journal(tmp_path / "journal", "w0")
    for one in (journal, other):
        one.append([open_row(admitted(), checkpoint())])
    (tmp_path / "journal" / "notes").touch()
    assert [path.name for path in files_in(tmp_path / "journal")] == ["w0-000000.journal", "w1-000000.journal"]
    other.close()


def test_without_a_directory_there_is_nothing_to_hand_over(journal):
    assert (journal.hand_over(pytest.fail), journal.hand_over_of_the_dead(pytest.fail)) == (0, 0)
