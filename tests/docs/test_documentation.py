"""What the documentation shows exists: links, commands, configuration, make targets, and what every project has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from textwrap import dedent

import click
import pytest

from gateway.cli import main
from gateway.config import Config

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]\[]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)  # also those inside of lists
OPTION = re.compile(r"(?<=\s)--[a-z][a-z-]*")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fences(page: Path, language: str) -> list[str]:
    return [dedent(body) for found, body in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def anchors(page: Path) -> set[str]:
    """Return a page's headings as GitHub makes anchors of them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_inside_the_project_leads_somewhere(page):
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", path):
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_configuration_that_is_shown_is_allowed(page, tmp_path):
    for text in fences(page, "toml"):
        Config.model_validate(tomllib.loads(text))


def _takes_a_value(command: click.Command, option: str) -> bool:
    taken = {
        name for found in command.params if isinstance(found, click.Option) and not found.is_flag for name in found.opts
    }
    return option in taken


def resolve(words: list[str]) -> tuple[click.Command, str]:
    command: click.Command = main
    path = []
    following = iter(words)
    for word in following:
        if word.startswith("-"):
            if _takes_a_value(command, word):
                next(following, None)
            continue
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), word)
        assert found is not None, f"there is no command tokenweir {' '.join([*path, word])}"
        command = found
        path.append(word)
    return command, " ".join(path)


def shown_commands() -> set[str]:
    """Return what stands behind ``tokenweir`` where the documentation shows a command line."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        shown = [body for _, body in FENCE.findall(text)] + re.findall(r"`(tokenweir [^`]+)`", text)
        for line in "\n".join(shown).splitlines():
            start = re.match(
                r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:docker exec \S+ )?(?:\S*/)?tokenweir ([a-z].*)", line.strip()
            )
            if start:
                found.add(start[1])
    return found


@pytest.mark.parametrize("line", sorted(shown_commands()))
def test_every_command_that_is_shown_exists_with_its_options(line):
    words = [word for word in re.split(r"[#|]", line)[0].split() if word != "…"]
    command, path = resolve(words)
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert set(OPTION.findall(f" {line.split('|')[0]}")) <= known, path


def test_the_readme_starts_with_two_commands_that_make_knows():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    beginning = readme.split("\n## ")[0]
    commands = re.findall(r"^    (make \w+)", beginning, re.MULTILINE)
    assert commands == ["make run", "make test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)", readme):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_continuous_integration_runs_the_checks_and_the_readmes_test_command():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make \w+$", script, re.MULTILINE) == ["make check", "make test"]


@pytest.mark.parametrize("lock", ["runtime", "clouds", "build", "dev"])
def test_lock_files_name_versions_and_hashes_and_no_place(lock):
    text = (ROOT / "requirements" / f"{lock}.lock").read_text(encoding="utf-8")
    assert not re.search(r"://|^-|file:| @ ", text, re.MULTILINE)
    entries = re.split(r"\n(?=\w)", "\n" + re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).strip())[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[\w.-]+==\S+", entry)
        assert "--hash=sha256:" in entry


def test_what_is_deployed_is_what_is_tested():
    """The other locks hold the versions of the development's."""
    pins = {
        lock: set(re.findall(r"^([\w.-]+==\S+)", (ROOT / "requirements" / f"{lock}.lock").read_text(), re.MULTILINE))
        for lock in ("runtime", "clouds", "build", "dev")
    }
    assert pins["runtime"] < pins["clouds"] <= pins["dev"]
    assert pins["build"] <= pins["dev"]
