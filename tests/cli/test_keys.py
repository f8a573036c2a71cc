"""``tokenweir keys`` as an operator types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from gateway.cli.keys import keys
from gateway.cli.tenants import tenants
from gateway.core.keys import parse_key


@pytest.fixture(autouse=True)
def _a_directory_with_one_tenant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TOKENWEIR_")]:
        monkeypatch.delenv(name)
    assert CliRunner().invoke(tenants, ["create", "shop"]).exit_code == 0


def run(*words):
    return CliRunner().invoke(keys, words)


def create(*words):
    return json.loads(run("create", "--tenant", "shop", "--json", *words).stdout)


def listed():
    return json.loads(run("list", "--json").stdout)


def test_a_key_is_shown_once_as_json_with_a_note_beside_it():
    result = run("create", "--tenant", "shop", "--json")
    shown = json.loads(result.stdout)
    assert list(shown) == ["id", "key", "tenant", "plan", "expires_at"]
    assert parse_key(shown["key"]).id == shown["id"]
    assert (shown["tenant"], shown["plan"], shown["expires_at"]) == ("shop", None, None)
    assert "shown this once" in result.stderr
    assert shown["key"][16:] not in run("list").stdout + run("list", "--json").stdout


def test_a_key_is_readable_for_people_too():
    result = run("create", "--tenant", "shop", "--expires", "30d")
    lines = dict(line.split() for line in result.stdout.splitlines())
    assert parse_key(lines["key"]).id == lines["id"]
    assert (lines["plan"], lines["expires_at"][:2]) == ("-", "20")


def test_the_plan_and_the_life_of_a_key_are_kept(tmp_path):
    (tmp_path / "gateway.toml").write_text("[plans.small]\nrequests_per_minute = 5\n")
    made = create("--plan", "small", "--expires", "1h", "--config", "gateway.toml")
    [row] = listed()
    assert (row["plan"], row["expires_at"], row["state"]) == ("small", made["expires_at"], "active")
    assert run("create", "--tenant", "shop", "--plan", "large").stderr == (
        "error: there is no plan 'large' in the configuration; there are default\n"
    )


def test_keys_are_listed_with_their_state():
    first, second, third = create(), create(), create()
    run("revoke", first["id"])
    run("rotate", second["id"])
    run("rotate", third["id"], "--overlap", "0")
    states = {row["id"]: row["state"] for row in listed()}
    assert [states[key["id"]] for key in (first, second, third)] == ["revoked", "replaced", "expired"]
    assert sorted(states.values()) == ["active", "active", "expired", "replaced", "revoked"]
    table = run("list", "--tenant", "shop").stdout.splitlines()
    assert table[0].split() == ["ID", "TENANT", "PLAN", "STATE", "CREATED", "EXPIRES"]
    assert len(table) == 6


def test_an_empty_list_says_what_to_do_and_leaves_stdout_empty():
    result = run("list")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert "tokenweir keys create --tenant NAME" in result.stderr


def test_a_key_is_revoked_by_its_id_or_by_itself():
    first, second, third = create(), create(), create()
    assert run("revoke", first["id"]).stdout == f"key {first['id']} revoked\n"
    cut = run("revoke", second["key"], "--cut-streams")
    assert cut.stdout == f"key {second['id']} revoked, its running streams are cut\n"
    assert run("revoke", f"tw_{third['id']}_…").exit_code == 0
    assert {row["state"] for row in listed()} == {"revoked"}


def test_rotation_shows_the_new_key_and_says_how_long_the_old_one_works():
    old = create("--expires", "30d")
    result = run("rotate", old["id"], "--overlap", "2h", "--json")
    new = json.loads(result.stdout)
    assert parse_key(new["key"]).id == new["id"] != old["id"]
    assert new["rotated_from"] == old["id"]
    [row] = [row for row in listed() if row["id"] == old["id"]]
    assert row["replaced_by"] == new["id"]
    assert f"the old key {old['id']} works until {row['expires_at']}" in result.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("create", "--tenant", "shp"), "error: there is no tenant 'shp'; did you mean shop?\n"),
        (("list", "--tenant", "shp"), "error: there is no tenant 'shp'; did you mean shop?\n"),
        (("revoke", "abcdefghijkl"), "error: there is no key abcdefghijkl; `tokenweir keys list` shows them\n"),
        (("rotate", "nope"), "error: that is not the id of a key: 12 letters and digits, as `tokenweir keys list`"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr_with_exit_code_2(words, error):
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith(error)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_key_of_a_suspended_tenant_is_refused():
    CliRunner().invoke(tenants, ["suspend", "shop"])
    assert run("create", "--tenant", "shop").stderr == "error: tenant 'shop' is suspended; resume it first\n"


def test_a_pepper_that_is_not_the_one_of_the_keys_makes_no_key(monkeypatch):
    create()
    monkeypatch.setenv("TOKENWEIR_KEY_PEPPER", "another-pepper-0123456789")
    assert "another pepper of version 1" in run("create", "--tenant", "shop").stderr
    assert len(listed()) == 1


def test_the_configured_pepper_makes_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKENWEIR_KEY_PEPPER", "another-pepper-0123456789")
    create()
    assert not (tmp_path / "data" / "pepper").exists()


def test_commands_that_run_at_once_all_take_effect():
    """Real processes on one new database and one new pepper."""
    command = [
        sys.executable,
        "-c",
        "from gateway.cli.keys import keys; keys()",
        "create",
        "--tenant",
        "shop",
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in "abc"]
    made = {json.loads(process.communicate()[0])["id"] for process in started}
    assert made == {row["id"] for row in listed()}
    assert {row["pepper_version"] for row in listed()} == {1}
