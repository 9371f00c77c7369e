"""The executor that computes many small fits as one program."""

from __future__ import annotations

import importlib
import time
from dataclasses import astuple

from .chunks import Compute, Rows, group_of
from .executors import Outcome
from .records import CELL_KEY
from .scenario import Cell, Scenario

__all__ = ["Batched"]


class Batched:
    """Cells of one fit, one number of experts and one n together, on a CPU or a GPU.

    ``moestat.batched.executor.compute_batch(scenario, cells, device=...)`` returns the rows of the cells that it can
    compute, or None if it can compute none of them; the others are computed one by one.
    """

    chunk_seconds, first_chunk, patience, width, room = 30.0, 256, 1, 1, 1

    def __init__(self, compute: Compute, scenario: Scenario, device: str = "cpu") -> None:
        self.compute, self.scenario, self.device = compute, scenario, device
        # not an import statement: the batched fits are built on this package, not below it
        self.compute_batch = importlib.import_module("moestat.batched.executor").compute_batch
        self.chunks: list[list[Cell]] = []
        self.unsupported: set[tuple[str, int, int]] = set()

    def submit(self, chunk: list[Cell]) -> None:
        self.chunks.append(chunk)

    def collect(self, timeout: float | None = None) -> list[Outcome]:
        from threadpoolctl import threadpool_limits

        if timeout == 0 or not self.chunks:
            return []
        start = time.perf_counter()
        chunk = self.chunks[0]
        group = group_of(chunk[0])
        rows: Rows = []
        with threadpool_limits(1):  # sums must not depend on the number of threads
            if group not in self.unsupported:
                found = self.compute_batch(self.scenario, chunk, device=self.device)
                if found is None:
                    self.unsupported.add(group)
                else:
                    rows = [{**row, "engine": f"batched-{self.device}"} for row in found]
            done = {tuple(row[key] for key in CELL_KEY) for row in rows}
            for cell in chunk:
                if astuple(cell) in done:
                    continue
                rows += self.compute(self.scenario, cell)
                if time.perf_counter() - start > self.chunk_seconds:
                    break  # the loop takes the rest back
        self.chunks.pop(0)
        return [Outcome(chunk, rows, time.perf_counter() - start)]

    def close(self) -> None:
        self.chunks.clear()
