"""The configuration file and its documentation follow from the settings."""

import re
import tomllib
from pathlib import Path

import pytest

from gateway.config import Config, load_config
from gateway.config.fields import is_model, is_table, walk
from tools import gen_docs


@pytest.fixture
def uncommented() -> dict:
    """gateway.toml with every key switched on."""
    text = gen_docs.TOML.read_text(encoding="utf-8")
    return tomllib.loads("\n".join(re.sub(r"^#(?=[\w\[])", "", line) for line in text.splitlines()))


def test_what_is_written_is_fresh():
    assert gen_docs.main(["--check"]) == 0


def test_a_stale_file_fails_the_check_and_is_written_without_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gen_docs, "ROOT", tmp_path)
    monkeypatch.setattr(gen_docs, "TOML", tmp_path / "gateway.toml")
    assert gen_docs.main(["--check"]) == 1
    assert "gateway.toml is stale" in capsys.readouterr().err
    assert gen_docs.main([]) == 0
    assert (tmp_path / "gateway.toml").read_text(encoding="utf-8") == gen_docs.toml()
    assert gen_docs.main(["--check"]) == 0


def test_the_file_as_it_stands_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(gen_docs.TOML, environ={}) == Config()


def test_every_key_is_in_the_file(uncommented):
    for path, field in walk(Config):
        here = uncommented
        for step in path:
            here = next(iter(here.values()), None) if step == "*" and isinstance(here, dict) else here
            here = here[0] if step == "*" and isinstance(here, list) else here
            here = here[step] if step != "*" else here
        assert here is not None, path
        assert is_table(field.annotation) is isinstance(here, dict), path


def test_every_value_in_the_file_is_the_default_or_an_example_that_is_allowed(uncommented, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for key in [key for key in uncommented if key.endswith("_file")]:
        del uncommented[key]
    del uncommented["upstreams"][0]["api_key_file"], uncommented["server"]["tls_certificate"]
    del uncommented["server"]["tls_key"]
    config = Config.model_validate(uncommented)
    assert config.server == Config().server
    assert config.chat.aliases == Config().chat.aliases
    assert config.anonymous[0].tenant == "shop"


def test_every_key_is_in_the_documentation_with_what_it_is():
    page = gen_docs.PAGE.read_text(encoding="utf-8")
    for path, field in walk(Config):
        assert field.description, path
        assert f"| `{path[-1]}` |" in page, path
    for name, field in Config.model_fields.items():
        if is_model(field.annotation):
            assert f"## `[{name}]`" in page


def test_the_hand_written_part_of_the_page_survives(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{gen_docs.BEGIN}\nstale words\n{gen_docs.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(gen_docs, "PAGE", page)
    text = gen_docs.files()[page]
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "stale words" not in text


def test_the_script_works_from_anywhere():
    assert Path(gen_docs.__file__).resolve().parent.parent == gen_docs.ROOT
