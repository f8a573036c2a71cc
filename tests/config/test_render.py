"""The effective configuration: TOML that can be read back, without secrets, with where each value came from."""

import tomllib
from pathlib import Path

import pytest
from pydantic import ByteSize

from gateway.config import read_config
from gateway.config.render import duration, effective, literal, masked, size


def rendered(tmp_path: Path, text: str, **environ: str) -> str:
    file = tmp_path / "g.toml"
    file.write_text(text, encoding="utf-8")
    return effective(read_config(file, environ=environ)).replace(str(file), "g.toml")


def test_the_defaults_are_toml_without_any_origin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = effective(read_config(None, environ={}))
    assert text.startswith("# Read: no file.")
    assert "  # " not in text
    read = tomllib.loads(text)
    assert read["server"]["heartbeat"] == "15s"
    assert read["server"]["max_body"] == "32MiB"
    assert read["upstreams"] == [
        {
            "name": "claude",
            "kind": "anthropic",
            "base_url": "https://api.anthropic.com",
            "api_key": "",
            "pretend": False,
        }
    ]
    assert "anonymous" not in read


def test_what_is_printed_loads_to_the_same_configuration(tmp_path):
    text = """
        [chat]
        system = "a \\"quoted\\" \\u007f\\nsystem"
        [chat.aliases]
        "claude-2.1" = "x"
        [plans."gold plan".per_user]
        requests_per_minute = 3
        [[anonymous]]
        origins = ["*"]
        tenant = "t"
        [[upstreams]]
        base_url = "https://a.example/path/"
        [[upstreams]]
        name = "b"
        """
    first = rendered(tmp_path, text)
    assert tomllib.loads(rendered(tmp_path, first)) == tomllib.loads(first)
    assert '[plans."gold plan".per_user]' in first


def test_each_value_that_was_set_says_where(tmp_path):
    text = rendered(
        tmp_path,
        '[server]\nheartbeat = "5s"\ncommit_after = "5s"\n[[upstreams]]\nname = "x"\n',
        TOKENWEIR_SERVER__COMMIT_AFTER="6s",
        TOKENWEIR_CHAT__ALIASES='{"a": "b"}',
        API_PORT="3001",
    )
    lines = text.splitlines()
    assert lines[0].startswith("# Read: g.toml.")
    assert 'heartbeat = "5s"  # g.toml' in lines
    assert 'commit_after = "6s"  # environment: TOKENWEIR_SERVER__COMMIT_AFTER' in lines
    assert 'listen = "127.0.0.1:3001"  # environment: API_PORT' in lines
    assert 'a = "b"  # environment: TOKENWEIR_CHAT__ALIASES.a' in lines
    assert 'name = "x"  # g.toml' in lines
    assert 'kind = "anthropic"' in lines


def test_no_secret_is_printed_beyond_its_last_four_characters(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("sk-ant-hush-hush-hush-abcd\n", encoding="utf-8")
    text = rendered(
        tmp_path,
        f'[[upstreams]]\napi_key_file = "{secret}"\nbase_url = "https://me:hush@host/"\n',
        TOKENWEIR_KEY_PEPPER="hush-hush-hush-hus",
        TOKENWEIR_DATABASE_URL="postgresql://me:hush@host/db?sslmode=x&password=hush",
        TOKENWEIR_REDIS_URL="redis://hush",
    )
    assert "hush" not in text
    assert 'api_key = "********abcd"  # g.toml: api_key_file' in text.replace("upstreams[0].", "")
    assert 'key_pepper = "********"  # environment: TOKENWEIR_KEY_PEPPER' in text
    assert 'database_url = "postgresql://me:********@host/db?sslmode=x&password=********"' in text


def test_a_secret_from_a_file_names_the_variable_of_the_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef", encoding="utf-8")
    assert "TOKENWEIR_KEY_PEPPER_FILE" in rendered(tmp_path, "", TOKENWEIR_KEY_PEPPER_FILE=str(secret))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.25, "250ms"), (1, "1s"), (90, "90s"), (120, "2m"), (7200, "2h"), (86400, "1d")]
)
def test_durations_use_the_largest_unit_that_fits(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1B"), (1024, "1KiB"), (1536, "1536B"), (32 << 20, "32MiB"), (1 << 30, "1GiB")]
)
def test_sizes_use_the_largest_unit_that_fits(count, text):
    assert literal(ByteSize(count)) == f'"{text}"'
    assert size(count) == text


def test_a_short_secret_shows_nothing():
    assert (masked(""), masked("x" * 19), masked("x" * 20)) == ("", "********", "********xxxx")


def test_plain_numbers_stay_numbers():
    assert (literal(5), literal(0.5), literal(True), literal(("a", 1))) == ("5", "0.5", "true", '["a", 1]')
