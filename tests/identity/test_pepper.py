"""The pepper: from the configuration, or from a file that is made once."""

from __future__ import annotations

import stat
import subprocess
import sys

import pytest

from gateway.database.errors import Refused
from gateway.identity import pepper
from gateway.identity.pepper import load_peppers

LOAD = "import sys, pathlib; from gateway.identity.pepper import load_peppers as l; print(l(pathlib.Path(sys.argv[1]), None).secrets[1].hex())"


def test_the_first_start_makes_a_file_for_the_owner_only_and_the_next_reads_it(tmp_path):
    made = load_peppers(tmp_path / "new" / "data", None)
    path = tmp_path / "new" / "data" / "pepper"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(made.secrets[1]) == 64
    assert load_peppers(path.parent, None) == made
    assert [file.name for file in path.parent.iterdir()] == ["pepper"]


def test_processes_that_start_together_agree_on_one_pepper(tmp_path):
    starts = [
        subprocess.Popen([sys.executable, "-c", LOAD, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in "abc"
    ]
    assert len({process.communicate()[0] for process in starts}) == 1
    assert all(process.returncode == 0 for process in starts)


def test_a_process_that_loses_the_race_reads_what_the_winner_wrote(tmp_path):
    winner = load_peppers(tmp_path, None)
    pepper._generate(tmp_path / "pepper")
    assert load_peppers(tmp_path, None) == winner
    assert len(list(tmp_path.iterdir())) == 1


def test_the_configured_pepper_wins_and_makes_no_file(tmp_path):
    assert load_peppers(tmp_path, "1:aaaaaaaaaaaaaaaa,2:bbbbbbbbbbbbbbbb").current == 2
    assert list(tmp_path.iterdir()) == []


def test_the_file_may_hold_several_versions_as_the_variable_does(tmp_path):
    (tmp_path / "pepper").write_text("1:aaaaaaaaaaaaaaaa,2:bbbbbbbbbbbbbbbb\n")
    assert load_peppers(tmp_path, None).current == 2


def test_the_content_of_the_file_can_be_moved_to_the_variable(tmp_path):
    made = load_peppers(tmp_path, None)
    assert load_peppers(tmp_path, (tmp_path / "pepper").read_text()) == made


def test_a_malformed_pepper_is_named_by_its_source_and_not_overwritten(tmp_path):
    with pytest.raises(Refused, match="TOKENWEIR_KEY_PEPPER is not valid: a pepper is one secret of at least 16"):
        load_peppers(tmp_path, "short")
    (tmp_path / "pepper").write_text("")
    with pytest.raises(Refused, match=f"the pepper in {tmp_path}/pepper is not valid"):
        load_peppers(tmp_path, None)
    assert (tmp_path / "pepper").read_text() == ""


def test_a_file_that_cannot_be_read_is_an_error_in_one_sentence(tmp_path):
    (tmp_path / "pepper").write_bytes(b"\xff" * 40)
    with pytest.raises(Refused, match="holds no text"):
        load_peppers(tmp_path, None)
    with pytest.raises(Refused, match="cannot be used: Not a directory"):
        load_peppers(tmp_path / "pepper", None)
