"""tokenweir config check: what it prints, where, and how it ends."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.config import config


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return lambda *args, **env: CliRunner().invoke(config, ["check", *args], env=env)


def test_the_defaults_are_printed_and_a_missing_key_is_a_note(run):
    result = run()
    assert result.exit_code == 0
    assert tomllib.loads(result.stdout)["server"]["listen"] == "127.0.0.1:8080"
    assert result.stderr.startswith("note: upstream claude")


def test_file_and_dotenv_are_read_and_the_key_is_masked(run):
    Path("g.toml").write_text('[server]\nheartbeat = "3s"\n', encoding="utf-8")
    Path("e.env").write_text("ANTHROPIC_API_KEY=sk-ant-0123456789-wxyz\n", encoding="utf-8")
    result = run("--config", "g.toml", "--env-file", "e.env", API_PORT="1")
    assert result.exit_code == 0
    assert 'heartbeat = "3s"  # g.toml' in result.stdout
    assert 'api_key = "********wxyz"  # e.env: ANTHROPIC_API_KEY' in result.stdout
    assert "0123" not in result.output
    assert result.stderr == ""


def test_variables_that_set_nothing_are_a_note_and_no_error(run):
    result = run(TOKENWEIR_COLOUR="red", TOKENWEIR_PORT="tcp://10.0.0.1:80", ANTHROPIC_API_KEY="sk")
    assert result.exit_code == 0
    assert result.stderr == "note: TOKENWEIR_COLOUR (environment): no setting is called so, it has no effect\n"


def test_all_mistakes_are_listed_on_stderr(run):
    result = run(TOKENWEIR_SERVER__HEARTBEAT="soon", TOKENWEIR_SERVER__DOCS="maybe")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2


def test_parts_that_do_not_fit_are_errors_beside_the_configuration(run):
    result = run(TOKENWEIR_SERVER__WORKERS="2", ANTHROPIC_API_KEY="sk")
    assert result.exit_code == 2
    assert "workers = 2  # environment: TOKENWEIR_SERVER__WORKERS" in result.stdout
    assert result.stderr.startswith("error: server.workers is 2")


def test_a_variable_without_effect_is_a_note(run):
    Path("g.toml").write_text('[server]\nlisten = "127.0.0.1:1"\n', encoding="utf-8")
    assert "note: API_PORT (environment) is not used" in run("--config", "g.toml", API_PORT="2").stderr


def test_live_ends_with_1_when_an_upstream_fails(run):
    result = run("--live")
    assert result.exit_code == 1
    assert result.stdout.endswith("claude: invalid: it has no key → set ANTHROPIC_API_KEY\n")
    assert result.stderr == ""
