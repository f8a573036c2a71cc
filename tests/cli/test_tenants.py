"""``tokenweir tenants`` as an operator types it."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from gateway.cli.tenants import tenants


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TOKENWEIR_")]:
        monkeypatch.delenv(name)


def run(*words):
    return CliRunner().invoke(tenants, words)


def test_a_tenant_is_created_listed_suspended_and_resumed(tmp_path):
    assert run("create", "shop").stdout == "tenant shop created, plan default\n"
    assert run("suspend", "shop").stdout == "tenant shop suspended\n"
    assert " suspended 20" in run("list").stdout
    assert run("suspend", "shop", "--cut-streams").stdout == "tenant shop suspended, its running streams are cut\n"
    assert run("resume", "shop").stdout == "tenant shop resumed\n"
    assert run("list").stdout.split()[:7] == ["NAME", "PLAN", "STATE", "CREATED", "shop", "default", "active"]
    assert (tmp_path / "data" / "tokenweir.db").is_file()


def test_programs_get_json():
    assert json.loads(run("list", "--json").stdout) == []
    run("create", "shop")
    run("suspend", "shop")
    [row] = json.loads(run("list", "--json").stdout)
    assert row["suspended_at"][:2] == row["created_at"][:2] == "20"
    assert {name: row[name] for name in ("name", "plan", "suspended")} == {
        "name": "shop",
        "plan": "default",
        "suspended": True,
    }


def test_an_empty_list_says_what_to_do_and_leaves_stdout_empty():
    result = run("list")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert "tokenweir tenants create NAME" in result.stderr


def test_a_plan_must_be_one_of_the_configuration(tmp_path):
    (tmp_path / "gateway.toml").write_text("[plans.gold]\nrequests_per_minute = 5\n")
    assert run("create", "shop", "--plan", "gold", "--config", "gateway.toml").exit_code == 0
    result = run("create", "bank", "--plan", "silver", "--config", "gateway.toml")
    assert result.stderr == "error: there is no plan 'silver' in the configuration; there are default, gold\n"
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("create", "Shop"), "error: 'Shop' is not a name for a tenant"),
        (("suspend", "nobody"), "error: there is no tenant 'nobody'"),
        (("resume", "nobody"), "error: there is no tenant 'nobody'"),
        (("list", "--config", "missing.toml"), "error: missing.toml"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr_with_exit_code_2(words, error):
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith(error)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
