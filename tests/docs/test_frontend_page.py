"""docs/frontend.md shows files of the example, which is built and run; the client's README lists all that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "frontend.md").read_text(encoding="utf-8")
README = (ROOT / "web" / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"<!-- (web/\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("file", "code"), SHOWN, ids=[Path(file).name for file, _ in SHOWN])
def test_what_is_shown_is_a_file_of_the_example(file, code):
    assert code == (ROOT / file).read_text(encoding="utf-8")


def test_all_code_that_is_no_command_is_such_a_file():
    assert len(SHOWN) == len(re.findall(r"^```tsx?$", PAGE, re.MULTILINE))


def section(title: str) -> str:
    return README.split(f"\n## {title}")[1].split("\n## ")[0]


def fields(file: str, interface: str) -> set[str]:
    body = (ROOT / "web" / "src" / file).read_text(encoding="utf-8").split(f"interface {interface} ")[1].split("\n}")[0]
    return set(re.findall(r"^  (?:readonly )?(\w+)\??:", body, re.MULTILINE))


def listed(text: str) -> set[str]:
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)", row)}


@pytest.mark.parametrize(
    ("title", "file", "interfaces"),
    [
        ("`StreamManager`", "core/types.ts", ["StreamManagerOptions"]),
        ("`useStreamingChat", "react/types.ts", ["UseStreamingChatOptions", "ChatState", "ChatHandle"]),
    ],
)
def test_every_option_and_result_is_in_the_readme_and_no_other(title, file, interfaces):
    assert listed(section(title)) == set().union(*(fields(file, interface) for interface in interfaces))


def test_what_messages_and_metrics_hold_is_in_the_readme():
    told = section("`useStreamingChat")
    for interface in ("Message", "MessageMetadata", "StreamMetrics"):
        for name in fields("react/types.ts", interface):
            assert re.search(rf"\b{name}\b", told), name


def test_every_code_of_the_clients_own_is_in_the_readme():
    source = (ROOT / "web" / "src" / "core" / "types.ts").read_text(encoding="utf-8")
    codes = set(
        re.findall(r"^  \| '(\w+)'", source.split("type StreamErrorCode")[1].split("\nexport")[0], re.MULTILINE)
    )
    table = section("Errors").split("| code | |")[1]
    assert listed(table) == codes


def test_each_option_of_a_request_is_in_the_readme():
    source = (ROOT / "web" / "src" / "core" / "types.ts").read_text(encoding="utf-8")
    names = re.findall(r"'(\w+)'", source.split("export type RequestOptions")[1].split(">")[0])
    line = section("`StreamManager`").split("Options of a request:")[1].split("as in")[0]
    assert set(re.findall(r"`(\w+)`", line)) == {"signal", *names}
