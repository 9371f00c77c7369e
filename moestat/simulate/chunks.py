"""Pending cells in chunks of a few seconds, and what is done with a chunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from .scenario import Cell, Scenario
from .watch import Watch

__all__ = ["ChunkQueue", "Compute", "Rows", "compute_chunk"]

Rows = list[dict[str, Any]]
Compute = Callable[[Scenario, Cell], Rows]
Group = tuple[str, int, int]


def group_of(cell: Cell) -> Group:
    """Cells of a group cost about the same: one fit, one number of experts, one n."""
    return cell.fit, cell.n_experts, cell.n


class ChunkQueue:
    """Pending cells, longest first, handed out in chunks of one group that take about ``seconds``.

    ``first`` cells are handed out while their duration is unknown.
    """

    def __init__(self, scenario: Scenario, cells: Iterable[Cell], seconds: float = 3.0, first: int = 1) -> None:
        self.seconds, self.first = seconds, first
        self.pending: dict[Group, list[Cell]] = {}
        self.per_cell: dict[Group, float] = {}
        self.scenario = scenario
        self.add(cells)

    def add(self, cells: Iterable[Cell]) -> None:
        for cell in sorted(cells, key=lambda c: (-self.scenario.cost(c), c)):
            self.pending.setdefault(group_of(cell), []).append(cell)

    def __len__(self) -> int:
        return sum(map(len, self.pending.values()))

    def take(self, width: int) -> list[Cell]:
        """The next chunk, small enough for ``width`` workers to share its group."""
        group, cells = next(iter(self.pending.items()))
        per_cell = self.per_cell.get(group)
        size = self.first if per_cell is None else max(1, int(self.seconds / max(per_cell, 1e-4)))
        size = min(size, max(1, -(-len(cells) // width)))
        if len(cells) > size:
            self.pending[group] = cells[size:]
        else:
            del self.pending[group]
        return cells[:size]

    def give_back(self, cells: Iterable[Cell]) -> None:
        for cell in cells:
            self.pending.setdefault(group_of(cell), []).insert(0, cell)

    def learn(self, chunk: list[Cell], seconds: float) -> None:
        self.per_cell[group_of(chunk[0])] = seconds / len(chunk)


def compute_chunk(compute: Compute, scenario: Scenario, chunk: list[Cell], watch: Watch) -> tuple[Rows, float]:
    """Records of a chunk, and the seconds that it took."""
    start = time.perf_counter()
    rows: Rows = []
    with watch.over() as begin:
        for cell in chunk:
            begin(cell)
            rows += compute(scenario, cell)
    return rows, time.perf_counter() - start
