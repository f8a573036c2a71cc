"""Variables that are named by others: Claude's SDKs and tools, the system, the Express deployment that came before.

They only fill in what nobody set in our own words: ``--listen``, ``TOKENWEIR_SERVER__LISTEN`` and the file's
``server.listen`` all win over ``API_PORT``, wherever that stands. One that is set and loses is told by ``notes``.
``PORT`` is not among them: too many platforms set it for something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.config.errors import Problem, shown
from gateway.config.fields import Path
from gateway.config.merge import Merged
from gateway.config.secret_files import read_secret
from gateway.config.sources import Layer
from gateway.web.settings import ServerSettings

_HIGHEST_PORT = 65535
# Whose addresses and credentials have nothing to do with those of Claude's own API.
_CLOUDS = ("bedrock", "vertex")


def _whole_number(value: str) -> int:
    if not value.isascii() or not value.strip().isdecimal() or not int(value):
        raise ValueError("allowed: a whole number, at least 1")
    return int(value)


def _entries(value: str) -> list[str]:
    return value.replace(",", " ").split()


def _listen(value: str) -> str:
    if not value.isascii() or not value.strip().isdecimal() or not 0 < int(value) <= _HIGHEST_PORT:
        raise ValueError(f"allowed: a port from 1 to {_HIGHEST_PORT}")
    host = str(ServerSettings.model_fields["listen"].default).rpartition(":")[0]
    return f"{host}:{int(value)}"


@dataclass(frozen=True, slots=True)
class Borrowed:
    """One such variable: the key it fills in, and how its value becomes ours."""

    path: Path
    convert: Callable[[str], Any] = str
    secret: bool = False


BORROWED: Mapping[str, Borrowed] = {
    "ANTHROPIC_API_KEY": Borrowed(("upstreams", 0, "api_key"), secret=True),
    "ANTHROPIC_BASE_URL": Borrowed(("upstreams", 0, "base_url")),
    # Both spellings are in use; curl and Python ask for the small one first.
    "https_proxy": Borrowed(("upstream", "https_proxy")),
    "HTTPS_PROXY": Borrowed(("upstream", "https_proxy")),
    "http_proxy": Borrowed(("upstream", "http_proxy")),
    "HTTP_PROXY": Borrowed(("upstream", "http_proxy")),
    "no_proxy": Borrowed(("upstream", "no_proxy"), _entries),
    "NO_PROXY": Borrowed(("upstream", "no_proxy"), _entries),
    "API_PORT": Borrowed(("server", "listen"), _listen),
    "RATE_LIMIT_MAX": Borrowed(("anonymous_default", "requests"), _whole_number),
    "RATE_LIMIT_WINDOW": Borrowed(("anonymous_default", "window"), lambda value: _whole_number(value) / 1000),
}


@dataclass(slots=True)
class Filling:
    """Fills in one source after the other, the stronger first."""

    merged: Merged
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)

    def fill(self, variables: Mapping[str, str], where: str) -> None:
        """Fill in what this source has and nothing above it set."""
        for name, borrowed in BORROWED.items():
            found = self._find(name, borrowed, variables, where)
            if found is None:
                continue
            written, value = found
            if borrowed.path[0] == "upstreams" and (kind := self.merged.value(("upstreams", 0, "kind"))) in _CLOUDS:
                self.notes.append(f"{written} ({where}) is not used: the first upstream is of kind {kind}")
                continue
            if (winner := self.merged.winner(borrowed.path)) is not None:
                if name.isupper() and variables.get(name.lower()) == value:
                    continue  # said twice, as is usual for proxies
                self.notes.append(f"{written} ({where}) is not used: {winner} is set")
                continue
            try:
                data = _nested(borrowed.path, borrowed.convert(value))
            except ValueError as error:
                self.problems.append(Problem(written, where, str(error), shown(value)))
            else:
                self.merged.lay(Layer(where, data, {borrowed.path: written}))

    def _find(self, name: str, borrowed: Borrowed, variables: Mapping[str, str], where: str) -> tuple[str, str] | None:
        value, file = variables.get(name), variables.get(f"{name}_FILE") if borrowed.secret else None
        if value and file:
            self.problems.append(Problem(f"{name}_FILE", where, f"{name} is set as well; keep one of the two"))
        if value or not file:
            return (name, value) if value else None
        content = read_secret(file, f"{name}_FILE", where, self.problems)
        return None if content is None else (f"{name}_FILE", content)


def _nested(path: Path, value: Any) -> Any:
    for step in reversed(path):
        value = {step: value}
    return value
