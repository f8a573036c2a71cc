"""Keys of upstreams that belong to another kind, keys that are missing, and what is not installed."""

from __future__ import annotations

import sys

import pytest

from gateway.config import ConfigError, load_config, read_config
from gateway.config.checks import missing_credentials, problems
from gateway.config.kinds import misfits, missing_extra
from gateway.upstream.settings import UpstreamSettings

BEDROCK = {"kind": "bedrock", "region": "us-east-1"}
VERTEX = {"kind": "vertex", "region": "us-east5", "project": "shop"}
AWS = {"access_key": "AKID", "secret_key": "hush"}


def found(**settings: object) -> list[tuple[str, str]]:
    return list(misfits(UpstreamSettings.model_validate(settings)))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kind": "anthropic", "api_key": "k"},
        BEDROCK,
        BEDROCK | AWS,
        BEDROCK | AWS | {"session_token": "t"},
        BEDROCK | {"api_key": "k", "models": {"a": "b"}},
        VERTEX,
        VERTEX | {"access_token": "t", "models": {"a": "b"}},
    ],
)
def test_what_belongs_together_is_no_problem(settings):
    assert found(**settings) == []


@pytest.mark.parametrize(
    ("settings", "key", "complaint"),
    [
        ({"region": "us-east-1"}, "region", "this key is for kind bedrock and vertex, and the upstream is of kind anthropic"),
        ({"models": {"a": "b"}}, "models", "this key is for kind bedrock and vertex"),
        ({"access_key": "a", "secret_key": "s"}, "access_key", "for kind bedrock,"),
        (BEDROCK | {"project": "p"}, "project", "this key is for kind vertex, and the upstream is of kind bedrock"),
        (BEDROCK | {"access_token": "t"}, "access_token", "for kind vertex"),
        (VERTEX | {"api_key": "AIza"}, "api_key", "for kind anthropic and bedrock"),
        ({"kind": "bedrock"}, "kind", 'needs the key region as well, as in region = "us-east-1"'),
        (VERTEX | {"project": None}, "kind", "needs the key project as well"),
        (BEDROCK | {"access_key": "a"}, "access_key", "needs secret_key as well"),
        (BEDROCK | {"secret_key": "a"}, "secret_key", "needs access_key as well"),
        (BEDROCK | {"session_token": "a"}, "session_token", "needs access_key and secret_key as well"),
        (BEDROCK | AWS | {"api_key": "k"}, "api_key", "keep one of the two"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(settings, key, complaint):
    assert (key, True) in [(name, complaint in text) for name, text in found(**settings)]


def test_a_misfit_is_a_configuration_error_that_shows_no_secret(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text('[[upstreams]]\nkind = "vertex"\nregion = "us-east5"\nproject = "shop"\nsecret_key = "hush"\n')
    with pytest.raises(ConfigError) as raised:
        load_config(file, environ={})
    assert "upstreams[0].secret_key" in str(raised.value)
    assert "hush" not in str(raised.value)


def test_secrets_of_clouds_can_be_in_files(tmp_path):
    (tmp_path / "secret").write_text("hush\n")
    file = tmp_path / "gateway.toml"
    file.write_text(
        '[[upstreams]]\nkind = "bedrock"\nregion = "us-east-1"\naccess_key = "AKID"\n'
        f'secret_key_file = "{tmp_path}/secret"\n[upstreams.models]\n"claude-x" = "us.anthropic.claude-x-v1:0"\n'
    )
    (upstream,) = load_config(file, environ={}).upstreams
    assert upstream.secret_key is not None
    assert upstream.secret_key.get_secret_value() == "hush"
    assert upstream.models == {"claude-x": "us.anthropic.claude-x-v1:0"}


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (BEDROCK, "https://bedrock-runtime.us-east-1.amazonaws.com/"),
        (VERTEX, "https://us-east5-aiplatform.googleapis.com/v1"),
        (VERTEX | {"region": "global"}, "https://aiplatform.googleapis.com/v1"),
        (BEDROCK | {"base_url": "http://127.0.0.1:1"}, "http://127.0.0.1:1/"),
        ({"kind": "bedrock"}, "https://api.anthropic.com/"),
        ({}, "https://api.anthropic.com/"),
    ],
)
def test_the_address_follows_from_the_region(settings, address):
    assert str(UpstreamSettings.model_validate(settings).base_url) == address


@pytest.mark.parametrize("region", ["us-east-1.evil.example/", "US", ""])
def test_a_region_is_a_part_of_a_name(region):
    with pytest.raises(ValueError, match="region"):
        UpstreamSettings(kind="bedrock", region=region)


def test_an_address_of_a_cloud_may_end_in_v1_and_needs_no_key(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text('[[upstreams]]\nkind = "vertex"\nregion = "us-east5"\nproject = "shop"\n')
    config = load_config(file, environ={})
    assert problems(config) == []
    assert missing_credentials(config) == []


def test_the_variables_of_claudes_own_api_do_not_reach_a_cloud(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text('[[upstreams]]\nkind = "bedrock"\nregion = "us-east-1"\n')
    environ = {"ANTHROPIC_API_KEY": "sk-hush", "ANTHROPIC_BASE_URL": "https://claude.example"}
    loaded = read_config(file, environ=environ)
    (upstream,) = loaded.config.upstreams
    assert upstream.api_key.get_secret_value() == ""
    assert "amazonaws" in str(upstream.base_url)
    assert loaded.notes == (
        "ANTHROPIC_API_KEY (environment) is not used: the first upstream is of kind bedrock",
        "ANTHROPIC_BASE_URL (environment) is not used: the first upstream is of kind bedrock",
    )


@pytest.mark.parametrize(("settings", "module"), [(BEDROCK, "boto3"), (BEDROCK, "botocore"), (VERTEX, "google.auth"), (VERTEX, "requests")])  # fmt: skip
def test_a_missing_extra_is_named_with_what_to_install(monkeypatch, settings, module):
    upstream = UpstreamSettings.model_validate({"name": "cloud"} | settings)
    assert missing_extra(upstream) is None
    monkeypatch.setitem(sys.modules, module, None)
    kind = settings["kind"]
    assert missing_extra(upstream) == (
        f"upstream cloud is of kind {kind}, for which an extra is not installed: pip install 'tokenweir[{kind}]'."
    )


def test_a_library_without_what_it_is_in_is_missing_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "google", None)
    monkeypatch.delitem(sys.modules, "google.auth", raising=False)
    assert missing_extra(UpstreamSettings.model_validate(VERTEX)) is not None
    assert missing_extra(UpstreamSettings()) is None
