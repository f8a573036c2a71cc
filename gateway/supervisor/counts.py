"""What the supervisor counts itself, beside its workers and under the same names (see ``gateway.metrics.families``)."""

from __future__ import annotations

from gateway.core.cells import Cells, key_of

_ROOM = 4096


class Counts:
    """Deaths and reloads.

    Attributes:
        memory: As workers have theirs.
    """

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(_ROOM))
        self._cells = Cells(self.memory)

    def death(self) -> None:
        """Count a worker that ended otherwise than it should."""
        self._add("tokenweir_worker_deaths", {})

    def reload(self, result: str) -> None:
        """Count a reload."""
        self._add("tokenweir_reloads", {"result": result})

    def _add(self, family: str, labels: dict[str, str]) -> None:
        index = self._cells.index(key_of("counter", family, f"{family}_total", labels, ""))
        assert index is not None  # noqa: S101 - there is room for all
        self._cells.numbers[index] += 1
