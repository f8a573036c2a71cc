"""tokenweir config check: what it prints, where, and how it ends."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.config import config


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    proxies = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY")
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", *proxies):
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


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_the_systems_proxy_is_shown_without_its_credential(name, run):
    env = {name: "http://user:hush@proxy.example:3128", "NO_PROXY": "a.example, .b.example"}
    result = run(ANTHROPIC_API_KEY="sk", **env)
    assert result.exit_code == 0
    assert f'https_proxy = "http://user:********@proxy.example:3128"  # environment: {name}' in result.stdout
    assert 'no_proxy = ["a.example", ".b.example"]  # environment: NO_PROXY' in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("value", ["user:zzz@proxy:3128", "http://zzz@proxy:3128", "http://u:zzz@zz/@zzz@proxy"])
def test_no_part_of_a_proxys_credential_is_shown(value, run):
    assert "zz" not in run(HTTPS_PROXY=value, ANTHROPIC_API_KEY="sk").output


def test_a_proxy_that_is_said_in_both_spellings_is_no_note_unless_they_differ(run):
    same = {"https_proxy": "http://one:1", "HTTPS_PROXY": "http://one:1"}
    assert run(ANTHROPIC_API_KEY="sk", **same).stderr == ""
    differs = run(ANTHROPIC_API_KEY="sk", **{**same, "HTTPS_PROXY": "http://two:2"})
    assert differs.stderr == "note: HTTPS_PROXY (environment) is not used: https_proxy (environment) is set\n"


def test_a_proxy_in_the_configuration_wins(run):
    Path("g.toml").write_text('[upstream]\nhttps_proxy = "off"\n', encoding="utf-8")
    result = run("--config", "g.toml", ANTHROPIC_API_KEY="sk", HTTPS_PROXY="http://proxy:1")
    assert 'https_proxy = "off"  # g.toml' in result.stdout
    assert result.stderr == "note: HTTPS_PROXY (environment) is not used: upstream.https_proxy (g.toml) is set\n"


@pytest.mark.parametrize(
    "url", ["https://proxy.example", "socks5://u:hush@proxy.example", "http://u:hush@", "http://:1"]
)
def test_a_proxy_that_cannot_be_used_is_an_error_that_does_not_quote_it(url, run):
    result = run(HTTPS_PROXY=url, ANTHROPIC_API_KEY="sk")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: upstream.https_proxy (or HTTPS_PROXY) is none that upstream claude can be")
    assert "hush" not in result.output


def test_a_proxy_that_nothing_goes_through_may_be_anything(run):
    """It is meant for other programs."""
    assert run(HTTP_PROXY="socks5://proxy", ANTHROPIC_API_KEY="sk").exit_code == 0
    assert run(HTTPS_PROXY="socks5://proxy", NO_PROXY="anthropic.com", ANTHROPIC_API_KEY="sk").exit_code == 0
    here = {"ANTHROPIC_BASE_URL": "https://localhost:8443", "HTTPS_PROXY": "socks5://proxy"}
    assert run(ANTHROPIC_API_KEY="sk", **here).exit_code == 0


def test_all_mistakes_are_listed_on_stderr(run):
    result = run(TOKENWEIR_SERVER__HEARTBEAT="soon", TOKENWEIR_SERVER__DOCS="maybe")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == result.stderr.count("error: TOKENWEIR_SERVER__") == 2


def test_a_directory_is_no_configuration_file(run):
    result = run("--config", ".")
    assert result.exit_code == 2
    assert "'.' is a directory" in result.stderr


def test_parts_that_do_not_fit_are_errors_beside_the_configuration(run):
    limited = {"TOKENWEIR_PLANS__DEFAULT__REQUESTS_PER_MINUTE": "10"}
    result = run(TOKENWEIR_SERVER__WORKERS="2", ANTHROPIC_API_KEY="sk", **limited)
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
