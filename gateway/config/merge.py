"""Sources laid over each other, remembering for every value which of them it came from.

Tables merge key by key. A list replaces the list below it; only entries that are named by their index, as variables
do, change a list of tables entry by entry.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from gateway.config.assemble import Config
from gateway.config.errors import Problem
from gateway.config.fields import Path, is_list, is_model, is_table, type_at
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
        """Return the layer that set the value at a path, what it is in, or something in it; None for a default."""
        above = (path[:end] for end in range(len(path), 0, -1))
        below = (p for p in self._origins if p[: len(path)] == path)
        return next((self._origins[p] for p in (*above, *below) if p in self._origins), None)

    def has(self, path: Path) -> bool:
        """Say whether any layer set the value at a path."""
        return self.value(path) is not None

    def winner(self, path: Path) -> str | None:
        """Say which key, and where, sets the value at a path; None when it is unset or empty."""
        origin = self.origin(path)
        return f"{origin.written(path)} ({origin.where})" if origin and self.value(path) else None

    def value(self, path: Path) -> Any:
        """Return the value at a path as it was written, None where there is none."""
        here: Any = self.data
        for step in path:
            try:
                here = here[step]
            except (KeyError, IndexError, TypeError):
                return None
        return here

    def discard(self, path: Path) -> None:
        """Take a key out."""
        here: Any = self.data
        for step in path[:-1]:
            here = here[step]
        del here[path[-1]]

    def _over(self, base: Any, new: Any, path: Path, layer: Layer) -> Any:
        kind = type_at(Config, path)
        if is_list(kind) and isinstance(new, dict) and all(isinstance(key, int) for key in new):
            # What is below and of the wrong kind stays, for the validation to name.
            return self._over_entries(base or [], new, path, layer) if isinstance(base, list | None) else base
        if isinstance(new, dict) and (kind is None or is_model(kind) or is_table(kind)):
            if not isinstance(base, dict | None):
                return base
            below = base or {}
            return below | {key: self._over(below.get(key), value, (*path, key), layer) for key, value in new.items()}
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
