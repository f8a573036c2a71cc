"""Sources laid over each other, remembering for every value which of them it came from.

Tables merge key by key. A list replaces the list below it; only entries that are named by their index, as variables
do, change a list of tables entry by entry.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from gateway.config.assemble import Config
from gateway.config.errors import Problem
from gateway.config.fields import Path, dotted, is_list, type_at
from gateway.config.sources import Layer


class Merged:
    """Nested settings, and the layer that each value came from."""

    def __init__(self, problems: list[Problem]) -> None:
        self.data: dict[str, Any] = {}
        self._problems = problems
        self._origins: dict[Path, Layer] = {}

    def lay(self, layer: Layer) -> None:
        """Put a layer on top of what is there."""
        self.data = self._over(self.data, deepcopy(layer.data), (), layer)

    def origin(self, path: Path) -> Layer | None:
        """Return the layer that set the value at a path, or the thing it is in; None for a default."""
        return next((self._origins[p] for p in _upwards(path) if p in self._origins), None)

    def winner(self, path: Path) -> str | None:
        """Say which key, and where, sets the value at a path; None when it is unset or empty."""
        here: Any = self.data
        for step in path:
            try:
                here = here[step]
            except (KeyError, IndexError, TypeError):
                # Not there; or what is above it is of the wrong kind, which the validation will say.
                broken = here is not self.data and not isinstance(here, (dict, list))
                return dotted(path) if broken else None
        origin = self.origin(path)
        return f"{origin.written(path)} ({origin.where})" if here and origin else None

    def discard(self, path: Path) -> None:
        """Take a key out."""
        here: Any = self.data
        for step in path[:-1]:
            here = here[step]
        del here[path[-1]]

    def _over(self, base: Any, new: Any, path: Path, layer: Layer) -> Any:
        if is_list(type_at(Config, path)) and isinstance(new, dict) and all(isinstance(key, int) for key in new):
            return self._over_entries(base if isinstance(base, list) else [], new, path, layer)
        if isinstance(new, dict) and not is_list(type_at(Config, path)):
            base = base if isinstance(base, dict) else {}
            return base | {key: self._over(base.get(key), value, (*path, key), layer) for key, value in new.items()}
        self._origins = {p: origin for p, origin in self._origins.items() if p[: len(path)] != path}
        self._origins[path] = layer
        return new

    def _over_entries(self, base: list[Any], new: dict[int, Any], path: Path, layer: Layer) -> list[Any]:
        entries = list(base)
        for index, entry in sorted(new.items()):
            if index > len(entries):
                text = f"there is no entry {len(entries)} before it"
                key = next((name for p, name in layer.names.items() if p[: len(path) + 1] == (*path, index)), "")
                self._problems.append(Problem(key, layer.where, text))
            entries[index : index + 1] = [self._over((entries[index:] or [None])[0], entry, (*path, index), layer)]
        return entries


def _upwards(path: Path) -> list[Path]:
    return [path[:end] for end in range(len(path), 0, -1)]
