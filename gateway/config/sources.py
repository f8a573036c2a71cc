"""Where settings come from: each source becomes one :class:`Layer`, still unvalidated.

The rules, which ``docs/configuration.md`` repeats for operators:

- ``TOKENWEIR_<SECTION>__<KEY>`` names any key, deeper with more ``__``, an entry of a list by its index
  (``TOKENWEIR_UPSTREAMS__0__API_KEY``). Lists are JSON or separated by commas. Empty is unset.
- A variable with ``TOKENWEIR_`` and ``__`` that names no key is an error, wherever it is. Without ``__`` it is one in a
  ``.env``; in the environment only when it looks like a slip of the pen, else a note says that it has no effect.
  What Kubernetes sets for a service called tokenweir (``TOKENWEIR_PORT_8080_TCP``) is not even that.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from gateway.config.assemble import Config
from gateway.config.errors import Problem
from gateway.config.fields import Path, dotted, element, is_list, is_model, nearest, type_at, walk

PREFIX = "TOKENWEIR_"
_KUBERNETES = re.compile(r"TOKENWEIR_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_.+)?)")
_SIMILAR = 0.6
_SLIP = 0.9


@dataclass(frozen=True, slots=True)
class Layer:
    """The settings of one source.

    Attributes:
        where: What to call the source: a file's path, ``environment``, ``command line``.
        data: Nested settings.
        names: Names that the user wrote, by path, where they are not the path itself.
        ignored: Names of variables that look like ours and set nothing.
    """

    where: str
    data: dict[str, Any] = field(default_factory=dict)
    names: dict[Path, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def written(self, path: Path) -> str:
        """Return the key as the user wrote it; ``TOKENWEIR_UPSTREAMS[0].name`` for what is inside a JSON value."""
        for end in range(len(path), 0, -1):
            if name := self.names.get(path[:end]):
                rest = dotted(path[end:])
                return name + ("" if not rest or rest.startswith("[") else ".") + rest
        return dotted(path)


class Variables(EnvSettingsSource):
    """pydantic-settings' reading of variables, from a mapping, with lists by comma and entries by index."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = {name.lower(): value for name, value in variables.items()}
        super().__init__(Config)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variables

    def next_field(self, field: FieldInfo | Any | None, key: str, case_sensitive: bool | None = None) -> Any:  # noqa: FBT001 - the hook's signature
        """Go one step down; through a list by index, which the library does not do."""
        annotation = field.annotation if isinstance(field, FieldInfo) else field
        return element(annotation) if is_list(annotation) else super().next_field(field, key, case_sensitive)

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:  # noqa: ARG002 - the hook's signature
        """Read JSON, or a list separated by commas; what is neither stays a text, for the validation to name."""
        if value.lstrip()[:1] in ("[", "{"):
            try:
                return json.loads(value)
            except ValueError:
                return value
        if field is not None and is_list(field.annotation) and not is_model(element(field.annotation)):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value


def read_variables(variables: Mapping[str, str], where: str, problems: list[Problem], *, strict: bool) -> Layer:
    """Read the ``TOKENWEIR_`` variables; ``strict`` makes every unknown one an error."""
    given = {name: value for name, value in variables.items() if value and name.upper().startswith(PREFIX)}
    names: dict[Path, str] = {}
    ignored: list[str] = []
    for name in given:
        path = _path_of(name)
        if len(path) > 1 and is_list(type_at(Config, path[:1])) and not isinstance(path[1], int):
            meant = variable_name((path[0], 0, *path[1:]))
            problems.append(Problem(name, where, f"an entry of a list is named by its index, as in {meant}"))
        elif path[0] in Config.model_fields:
            names[path] = name
        elif problem := _unknown_variable(name, path, where, strict=strict):
            problems.append(problem)
        elif not _KUBERNETES.fullmatch(name):
            ignored.append(name)
    data = Variables({name: given[name] for name in names.values()})()
    return Layer(where, {key: _indexed(value, (key,)) for key, value in data.items()}, names, ignored)


def _path_of(name: str) -> Path:
    first, *steps = name[len(PREFIX) :].lower().split("__")
    indexed = is_list(type_at(Config, (first,)))
    return (first, *(int(step) if indexed and not at and step.isdecimal() else step for at, step in enumerate(steps)))


def _unknown_variable(name: str, path: Path, where: str, *, strict: bool) -> Problem | None:
    sure = strict or len(path) > 1
    if not sure and _KUBERNETES.fullmatch(name):
        return None
    # Compared without the prefix, which all have in common.
    known = [variable_name(key)[len(PREFIX) :] for key, _ in walk(Config)]
    close = difflib.get_close_matches(name[len(PREFIX) :].upper(), known, n=1, cutoff=_SIMILAR if sure else _SLIP)
    if not (sure or close):
        return None
    meant = nearest(Config, path)
    hint = PREFIX + close[0] if close else variable_name(tuple(meant.split("."))) if meant else None
    return Problem(name, where, "unknown variable" + (f"; did you mean {hint}?" if hint else ""))


def variable_name(path: Path) -> str:
    """Return the variable that sets a key."""
    return PREFIX + "__".join(str(step) for step in path).upper()


def _indexed(value: Any, path: Path) -> Any:
    """Give the entries of a list of tables their indexes as numbers, for :func:`overlay` to find."""
    if isinstance(value, dict) and is_list(type_at(Config, path)):
        return {int(key) if str(key).isdecimal() else key: entry for key, entry in value.items()}
    return value


def read_toml(file: FilePath, problems: list[Problem]) -> Layer:
    """Read the configuration file."""
    where = str(file)
    if not file.is_file():
        problems.append(Problem("", where, "no such file"))
        return Layer(where)
    try:
        return Layer(where, TomlConfigSettingsSource(Config, file).toml_data)
    except UnicodeDecodeError:
        problems.append(Problem("", where, "cannot be read: not UTF-8 text"))
    except tomllib.TOMLDecodeError as error:
        text, _, at = str(error).removesuffix(")").partition(" (at ")
        line = re.match(r"line (\d+)", at)
        last = file.read_bytes().rstrip().count(b"\n") + 1
        problems.append(Problem("", f"{where}:{line[1] if line else last}", f"not TOML: {text}"))
    except OSError as error:
        problems.append(Problem("", where, f"cannot be read: {error.strerror}"))
    return Layer(where)


def read_dotenv(file: FilePath, problems: list[Problem]) -> dict[str, str]:
    """Read a ``.env`` to the letter: a dollar sign in it is one, as in the old deployment."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            values = dotenv_values(stream=stream, interpolate=False)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        problems.append(Problem("", str(file), f"cannot be read: {reason}"))
        return {}
    return {name: value for name, value in values.items() if value is not None}
