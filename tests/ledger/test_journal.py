"""The journal: what is in it survives, what was not written whole does not count, each file is replayed by one."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import stat
import subprocess
import sys
import zlib
from pathlib import Path

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


def rows_in(directory):
    return [row for path in files_in(directory) for row in read_rows(path)]


def test_rows_are_handed_over_as_they_were_and_then_gone(journal, tmp_path):
    journal.append(ROWS[:1])
    journal.append(ROWS[1:])
    assert journal.depth == 2
    assert handed_over(journal) == (2, ROWS)
    assert (journal.depth, rows_in(tmp_path / "journal")) == (0, [])
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
    head, first, second, third, fourth = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(head + first + second.replace(b"shop", b"stop") + b"\n" + b"nonsense\n" + third + fourth[:-1])
    assert list(read_rows(file)) == [ROWS[0], ROWS[0]]


def test_a_file_without_its_first_line_has_no_rows(journal, tmp_path):
    journal.append(ROWS)
    (file,) = (tmp_path / "journal").iterdir()
    file.write_bytes(file.read_bytes()[1:])
    assert list(read_rows(file)) == []


def test_a_row_of_an_older_version_lacks_what_that_did_not_know(tmp_path):
    lines = (b'["request_id","gone"]', b'["a",1]')
    (tmp_path / "x.journal").write_bytes(b"".join(b"%08x %b\n" % (zlib.crc32(line), line) for line in lines))
    ((first, *others),) = read_rows(tmp_path / "x.journal")
    assert (first, set(others)) == ("a", {None})


def test_half_a_character_and_integers_of_any_size_are_no_obstacle(journal):
    journal.append([("\ud83d", 2**70, *ROWS[0][2:])])
    assert handed_over(journal)[1] == [("?", 2**63 - 1, *ROWS[0][2:])]


def test_a_directory_that_was_removed_loses_no_row(journal, tmp_path):
    journal.append(ROWS)
    shutil.rmtree(tmp_path / "journal")
    assert handed_over(journal) == (2, ROWS)
    journal.append(ROWS)
    assert rows_in(tmp_path / "journal") == ROWS


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


def fails(*_):
    raise OSError(5, "Input/output error")


def test_a_part_of_a_row_that_cannot_be_removed_spoils_no_row_after_it(journal, monkeypatch):
    journal.append(ROWS)
    write = os.write

    def partly(file, data):
        patch.setattr(os, "write", fails)
        return write(file, data[:100])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", partly)
        patch.setattr(os, "ftruncate", fails)
        with pytest.raises(JournalFailed, match="Input/output error"):
            journal.append(ROWS[:1])
    journal.append(ROWS[1:])
    assert handed_over(journal)[1] == [*ROWS, ROWS[1]]


def test_a_file_that_cannot_be_begun_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal", "w1")
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", fails)
        for begin in (journal.open, lambda: journal.append(ROWS)):
            with pytest.raises(JournalFailed, match="Input/output error"):
                begin()
    assert list((tmp_path / "journal").iterdir()) == []
    journal.append(ROWS)
    assert handed_over(journal) == (2, ROWS)


def test_a_file_that_cannot_follow_costs_no_row(journal, monkeypatch):
    journal.append(ROWS)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", fails)
        assert handed_over(journal) == (2, ROWS)
    journal.append(ROWS)
    assert handed_over(journal) == (2, ROWS)


def test_what_is_synced_is_every_file_with_rows_and_the_directory(journal, tmp_path, monkeypatch):
    def refuse(_rows):
        raise DatabaseFailed("away")

    journal.append(ROWS)
    with pytest.raises(DatabaseFailed):
        journal.hand_over(refuse)
    journal.append(ROWS)
    synced = []
    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(os, name, lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink()))
    journal.sync()
    directory = tmp_path / "journal"
    assert synced == [*files_in(directory), directory]
    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(JournalFailed, match="Input/output error"):
        journal.sync()


def test_a_database_that_is_away_for_long_does_not_use_up_the_files_that_may_be_open(journal, tmp_path):
    def refuse(_rows):
        raise DatabaseFailed("away")

    for _ in range(20):
        journal.append(ROWS)
        with pytest.raises(DatabaseFailed):
            journal.hand_over(refuse)
    assert len(files_in(tmp_path / "journal")) == 2
    assert handed_over(journal) == (40, ROWS * 20)


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
