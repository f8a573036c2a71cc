"""What the commands for tenants and keys share."""

from __future__ import annotations

import os

import click
import pytest
from click.testing import CliRunner

from gateway.cli.errors import OperatorError
from gateway.cli.keystore import Duration, opened, print_table, written


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TOKENWEIR_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h", 3600), ("30d", 2_592_000), ("5", 5)])
def test_a_duration_is_written_as_in_the_configuration(text, seconds):
    assert Duration(zero=False).convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["soon", "-1h", "0", "99999d", "1e9"])
def test_a_duration_that_makes_no_sense_is_refused(text):
    with pytest.raises(click.BadParameter):
        Duration(zero=False).convert(text, None, None)


def test_no_duration_at_all_is_allowed_where_it_means_at_once():
    assert Duration(zero=True).convert("0", None, None) == 0
    with pytest.raises(click.BadParameter, match="at most 36500d"):
        Duration(zero=True).convert("99999d", None, None)


def test_the_audit_names_the_os_user_or_its_number_if_it_has_no_name(monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    with opened(None, None) as (_config, store):
        store.create_tenant("shop")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    with opened(None, None) as (_config, store):
        store.suspend("shop")
        assert [row.actor for row in store.audit()] == ["cli:ada", "cli:54321"]


def test_a_configuration_that_is_wrong_ends_the_command_before_anything_is_opened(tmp_path):
    (tmp_path / "wrong.toml").write_text("[keys]\nrefresh = 99\n[server]\nlisten = 1\n")
    with pytest.raises(OperatorError, match=r"keys\.refresh") as ended, opened(tmp_path / "wrong.toml", None):
        pass
    assert len(str(ended.value.message).splitlines()) == 2
    assert not (tmp_path / "data").exists()


def test_the_environment_file_says_where_the_database_is(tmp_path):
    (tmp_path / "prod.env").write_text(f"TOKENWEIR_DATABASE_URL=sqlite:///{tmp_path}/elsewhere/keys.db\n")
    with opened(None, tmp_path / "prod.env"):
        assert (tmp_path / "elsewhere" / "keys.db").is_file()


def test_a_table_is_aligned_and_has_no_trailing_space():
    @click.command()
    def show():
        print_table(("NAME", "X"), [("a", "b"), ("longer", "c")])

    assert CliRunner().invoke(show).stdout == "NAME    X\na       b\nlonger  c\n"


def test_numbers_of_a_table_end_under_each_other():
    @click.command()
    def show():
        print_table(("NAME", "X"), [("longer", "1"), ("a", "1,000")], texts=1)

    assert CliRunner().invoke(show).stdout == "NAME        X\nlonger      1\na       1,000\n"


def test_times_are_written_in_utc():
    assert written(1_764_000_000.9) == "2025-11-24T16:00:00Z"
    assert written(None) is None
