"""Every secret can be in a file: the same key with ``_file`` (``TOKENWEIR_KEY_PEPPER_FILE``, ``api_key_file``).

The file's content, without the white space around it, takes the secret's place in the source that named the file, so
a higher source still wins over it. A secret and its file in one source is an error: nobody could say which one counts.
"""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

from gateway.config.assemble import Config
from gateway.config.errors import Problem, shown
from gateway.config.fields import Path, element, is_model, is_secret, type_at
from gateway.config.sources import Layer


def read_secret_files(layer: Layer, problems: list[Problem]) -> None:
    """Put the content of every ``<secret>_file`` in the place of the secret."""
    for path, table in _tables(Config, layer.data, ()):
        for name in [name for name in table if name.endswith("_file")]:
            model = type_at(Config, path)
            secret = name.removesuffix("_file")
            known = model.model_fields.get(secret)
            if known is None or not is_secret(known) or not table[name]:
                continue
            written = layer.written((*path, name))
            if table.get(secret):
                text = f"{layer.written((*path, secret))} is set as well; keep one of the two"
                problems.append(Problem(written, layer.where, text))
            elif (content := read_secret(table[name], written, layer.where, problems)) is not None:
                table[secret] = content
                layer.names[(*path, secret)] = written


def _tables(model: Any, value: Any, path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """List the tables of the data that have keys of their own."""
    if is_model(model) and isinstance(value, dict):
        here = [(path, value)]
        return here + [t for k, v in value.items() for t in _tables(type_at(Config, (*path, k)), v, (*path, k))]
    inner = element(model)
    if not is_model(inner) or not isinstance(value, (dict, list)):
        return []
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    return [t for k, v in entries for t in _tables(inner, v, (*path, k))]


def read_secret(file: Any, key: str, where: str, problems: list[Problem]) -> str | None:
    """Return what a secret's file holds, without the white space around it."""
    try:
        content = FilePath(str(file)).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        problems.append(Problem(key, where, f"cannot be read: {reason}", shown(file)))
        return None
    if not content:
        problems.append(Problem(key, where, "the file is empty", shown(file)))
        return None
    return content
