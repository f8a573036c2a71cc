"""Write what follows from the settings' own descriptions: ``config/gateway.toml`` and the keys of the documentation.

``python tools/gen_docs.py`` writes, ``--check`` only says what is not as it would be written, and fails if anything
is. In ``docs/configuration.md`` only the part between the two marks is written; the rest is by hand.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from anywhere, installed or not

from gateway.config import Config  # noqa: E402 - found through the line above
from gateway.config.fields import element, is_list, is_model, unwrap  # noqa: E402 - as above
from gateway.config.render import kind, literal  # noqa: E402 - as above

TOML = ROOT / "config" / "gateway.toml"
PAGE = ROOT / "docs" / "configuration.md"
BEGIN = "<!-- keys: written by tools/gen_docs.py from the settings' descriptions -->"
END = "<!-- end of keys -->"
INTRODUCTION = """\
Tokenweir's configuration. Every key is here, with its default and the reason for it; as it stands, this file changes
nothing. To set a key, take away the # in front of it (words have a space after their #, keys have none).
A key that is marked "unset" shows an example. Durations are 500ms, 30s, 5m, 1h or 30d; sizes are 64KiB or 32MiB.
Variables win over this file: TOKENWEIR_SERVER__LISTEN is [server] listen. `tokenweir config check` says what holds."""
WIDTH = 110

Table = tuple[tuple[str, ...], type[BaseModel], FieldInfo]


def default(field: FieldInfo) -> Any:
    """Return what holds when the key is not set; None for nothing."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return None
    return ByteSize(value) if unwrap(field.annotation) is ByteSize else value


def keys(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the keys that stand in the table itself."""
    for name, field in model.model_fields.items():
        if not any(is_model(kind) for kind in (unwrap(field.annotation), element(field.annotation))):
            yield name, field


def tables(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[Table]:
    """Yield the tables below a table, depth first; ``default`` stands for the name that a table is free to have."""
    for name, field in model.model_fields.items():
        inner = unwrap(field.annotation)
        path = (*above, name)
        if not is_model(inner):
            inner = element(field.annotation)
            path = path if is_list(field.annotation) else (*path, "default")
        if is_model(inner):
            yield path, inner, field
            yield from tables(inner, path)


def toml() -> str:
    """Write the configuration file."""
    lines = _words(INTRODUCTION, wrap=False) + _toml_keys(Config)
    for path, model, field in tables(Config, ()):
        mark = "[[{}]]" if is_list(field.annotation) else "[{}]"
        # An entry that needs keys, or one that is only an example, cannot stand there empty.
        off = "#" if field.examples or any(inner.is_required() for inner in model.model_fields.values()) else ""
        name = ".".join((*path[:-1], str(field.examples[0])) if field.examples else path)
        lines += ["", *_words(field.description or ""), off + mark.format(name), *_toml_keys(model)]
    return "\n".join(lines) + "\n"


def _toml_keys(model: type[BaseModel]) -> list[str]:
    lines: list[str] = []
    for name, field in keys(model):
        value = default(field)
        lines += ["", *_words(field.description or "")]
        example = value in (None, (), {}) or (not isinstance(value, dict) and literal(value, field) == '""')
        shown = field.examples[0] if example and field.examples else value
        unset = "  # unset; an example" if example and field.examples and not field.is_required() else ""
        written = _inline(shown) if isinstance(shown, dict) else literal(shown, field)
        lines.append(f"#{name} = {written}{unset}")
    return lines


def _inline(table: dict[str, str]) -> str:
    return "{ " + ", ".join(f'"{name}" = "{value}"' for name, value in table.items()) + " }"


def _words(text: str, *, wrap: bool = True) -> list[str]:
    lines = textwrap.wrap(text, WIDTH) if wrap else text.splitlines()
    return [f"# {line}" for line in lines]


def page() -> str:
    """Write the documentation of all keys."""
    parts = ["## Above all tables\n", *_rows(Config)]
    for path, model, field in tables(Config, ()):
        name = ".".join("<name>" if step == "default" else step for step in path)
        title = f"[[{name}]]" if is_list(field.annotation) else f"[{name}]"
        parts += [f"\n##{'#' * (path[-1].startswith('per_'))} `{title}`\n", f"{field.description}\n", *_rows(model)]
    return "\n".join(parts)


def _rows(model: type[BaseModel]) -> Iterator[str]:
    yield "| Key | Takes | Default | What it is, and why the default |"
    yield "|---|---|---|---|"
    for name, field in keys(model):
        value = default(field)
        if field.is_required():
            shown = "needed"
        elif value is None or value == {}:
            shown = "unset"
        else:
            shown = f"`{_inline(value) if isinstance(value, dict) else literal(value, field)}`"
        cells = (f"`{name}`", kind(field), shown, field.description or "")
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def files() -> dict[Path, str]:
    """Return every file as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return {TOML: toml(), PAGE: f"{before}{BEGIN}\n\n{page()}\n\n{END}{after}"}


def main(arguments: list[str]) -> int:
    """Write the files, or say which are stale."""
    status = 0
    for path, text in files().items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale: run python tools/gen_docs.py\n")
            status = 1
        else:
            path.write_text(text, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
