"""From a file and an environment to one frozen :class:`Config`, or to all that is wrong with them at once.

Who wins, from strongest to weakest: the command line, ``TOKENWEIR_`` variables, the same in ``./.env`` (or the file
given), the TOML file, variables named by others (``borrowed.py``), the defaults. A ``*_FILE`` counts as its secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.config.assemble import Config
from gateway.config.borrowed import Filling
from gateway.config.checks import broken_references
from gateway.config.errors import ConfigError, Problem, allowed, shown
from gateway.config.fields import Path, dotted, element, holds_secret, is_model, nearest, type_at
from gateway.config.merge import Merged
from gateway.config.secret_files import read_secret_files
from gateway.config.sources import Layer, read_dotenv, read_toml, read_variables, variable_name

DEFAULT_CONFIG = FilePath("config/gateway.toml")
DEFAULT_ENV = FilePath(".env")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with its history.

    Attributes:
        config: What holds.
        merged: Where each value came from.
        files: The files that were read.
        notes: Variables that are set and have no effect, each a sentence.
    """

    config: Config
    merged: Merged
    files: tuple[str, ...]
    notes: tuple[str, ...]


def load_config(
    config_file: FilePath | None,
    env_file: FilePath | None = None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any] = _NOTHING,
) -> Config:
    """Return the configuration, or raise :class:`ConfigError` with everything that is wrong.

    Args:
        config_file: TOML file; None takes ``./config/gateway.toml`` if it is there.
        env_file: ``.env`` file; None takes ``./.env`` if it is there.
        environ: The environment.
        overrides: What the command line sets, by key: ``{"server.listen": "0.0.0.0:80"}``; None is not set.
    """
    return read_config(config_file, env_file, environ=environ, overrides=overrides).config


def read_config(
    config_file: FilePath | None,
    env_file: FilePath | None = None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any] = _NOTHING,
) -> Loaded:
    """As :func:`load_config`, with where everything came from."""
    problems: list[Problem] = []
    merged = Merged(problems)
    toml = config_file or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None)
    dotenv = env_file or (DEFAULT_ENV if DEFAULT_ENV.is_file() else None)
    in_dotenv = read_dotenv(dotenv, problems) if dotenv else {}
    layers = [
        read_toml(toml, problems) if toml else Layer(""),
        read_variables(in_dotenv, str(dotenv), problems, strict=True),
        read_variables(environ, "environment", problems, strict=False),
        _command_line(overrides),
    ]
    for layer in layers:
        read_secret_files(layer, problems)
        merged.lay(layer)
    filling = Filling(merged, problems)
    filling.fill(environ, "environment")
    filling.fill(in_dotenv, str(dotenv))
    problems += _unknown(merged)
    config = _validated(merged, problems)
    if config is None or problems:
        raise ConfigError(problems)
    notes = (*filling.notes, *_ignored(layers))
    return Loaded(config, merged, tuple(str(file) for file in (toml, dotenv) if file), notes)


def _command_line(overrides: Mapping[str, Any]) -> Layer:
    data: dict[str, Any] = {}
    names: dict[Path, str] = {}
    for key, value in overrides.items():
        if value is None:
            continue
        *above, last = key.split(".")
        table = data
        for step in above:
            table = table.setdefault(step, {})
        table[last] = value
        names[(*above, last)] = "--" + last.replace("_", "-")
    return Layer("command line", data, names)


def _ignored(layers: Iterable[Layer]) -> Iterator[str]:
    for layer in layers:
        if layer.ignored:
            yield f"{', '.join(sorted(layer.ignored))} ({layer.where}): no setting is called so, it has no effect"


def _unknown(merged: Merged) -> Iterator[Problem]:
    """Name the keys that nobody reads, and take them out so that validation is about the rest."""
    for path in list(_unknown_paths(Config, merged.data, ())):
        origin = merged.origin(path) or Layer("")
        meant = nearest(Config, path)
        if meant and path in origin.names:
            meant = variable_name(tuple(re.findall(r"\w+", meant)))
        hint = f"; did you mean {meant}?" if meant else ""
        yield Problem(origin.written(path), origin.where, f"unknown key{hint}")
        merged.discard(path)


def _unknown_paths(model: Any, value: Any, path: Path) -> Iterator[Path]:
    if is_model(model) and isinstance(value, dict):
        for key, below in value.items():
            if key not in model.model_fields:
                yield (*path, key)
            else:
                yield from _unknown_paths(type_at(model, (key,)), below, (*path, key))
    elif (inner := element(model)) is not None and isinstance(value, (dict, list)):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _unknown_paths(inner, below, (*path, key))


def _validated(merged: Merged, problems: list[Problem]) -> Config | None:
    try:
        config = Config.model_validate(merged.data)
    except ValidationError as error:
        found = error.errors()
        # pydantic takes the entries that failed for missing ones, and calls the list too short as well.
        found = [e for e in found if e["type"] != "too_short" or not e["input"]]
        problems += [_problem(details, merged) for details in found]
        return None
    problems += [
        Problem((origin := merged.origin(path) or Layer("")).written(path), origin.where, text, shown(value))
        for path, value, text in broken_references(config)
    ]
    return config


def _problem(error: ErrorDetails, merged: Merged) -> Problem:
    path: Path = error["loc"]
    origin = merged.origin(path) or Layer("defaults")
    hidden = error["type"] == "missing" or holds_secret(Config, path)
    text = allowed(error)
    if error["type"] == "tuple_type" and is_model(element(type_at(Config, path))):
        text = f"allowed: a list of tables, each written [[{dotted(path)}]]"
    return Problem(origin.written(path), origin.where, text, None if hidden else shown(error["input"]))
