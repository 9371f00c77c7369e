"""Where chunks are computed: in this process, on worker processes, on Dask, or many fits at a time."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import Executor as Pool
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .chunks import Compute, Rows, compute_chunk
from .scenario import Cell, Scenario
from .watch import Watch, read_marks

__all__ = ["EXECUTORS", "ONE_THREAD", "Executor", "Outcome", "Processes", "Serial", "make_executor"]

EXECUTORS = ("serial", "processes", "dask", "batched")
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


@dataclass(frozen=True)
class Outcome:
    """What became of a chunk: the rows of its cells, or none if its worker died. Cells without rows are still to be done."""

    chunk: list[Cell]
    rows: Rows | None
    seconds: float = 0.0
    suspects: list[Cell] = field(default_factory=list)
    """Cells of a lost chunk that may have killed the worker."""
    hung: Mapping[Cell, str] = field(default_factory=dict)
    """Cells that were ended by the time limit, with the stack where they were."""


class Executor(Protocol):
    """Computes chunks; the loop around it never holds more than ``room`` of them here."""

    chunk_seconds: float
    first_chunk: int
    patience: int
    """Deaths, alone in flight, after which a cell is given up."""

    @property
    def width(self) -> int:
        """Chunks computed at the same time."""

    @property
    def room(self) -> int:
        """Chunks accepted at the same time."""

    def submit(self, chunk: list[Cell]) -> None:
        """Accept a chunk."""

    def collect(self, timeout: float | None = None) -> list[Outcome]:
        """Wait for at least one chunk, or ``timeout`` seconds; lost workers have been replaced on return."""

    def close(self) -> None:
        """Give up what is in flight and end all workers."""


class Serial:
    """One chunk after the other in this process, with one thread."""

    chunk_seconds, first_chunk, patience, width, room = 3.0, 1, 1, 1, 1

    def __init__(self, compute: Compute, scenario: Scenario) -> None:
        self.compute, self.scenario = compute, scenario
        self.chunks: list[list[Cell]] = []

    def submit(self, chunk: list[Cell]) -> None:
        self.chunks.append(chunk)

    def collect(self, timeout: float | None = None) -> list[Outcome]:
        from threadpoolctl import threadpool_limits

        if timeout == 0 or not self.chunks:
            return []
        with threadpool_limits(1):  # sums must not depend on the number of threads
            rows, seconds = compute_chunk(self.compute, self.scenario, self.chunks[0], Watch())
        return [Outcome(self.chunks.pop(0), rows, seconds)]

    def close(self) -> None:
        self.chunks.clear()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what a Ctrl-C means


class Processes:
    """Worker processes of this machine, one thread each; a pool that lost a worker is replaced as a whole."""

    chunk_seconds, first_chunk, patience = 3.0, 1, 2

    def __init__(self, compute: Compute, scenario: Scenario, jobs: int, limit: float | None = None) -> None:
        self.compute, self.scenario, self.limit = compute, scenario, limit
        self.width, self.room = jobs, jobs + 1
        self.flying: dict[Future[tuple[Rows, float]], list[Cell]] = {}
        self.refused: list[list[Cell]] = []
        self._start()

    def _start(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        self.marks = tempfile.TemporaryDirectory(prefix="moestat-", ignore_cleanup_errors=True)
        self.pool: Pool = ProcessPoolExecutor(
            max_workers=self.width, env=ONE_THREAD, initializer=_start_worker, timeout=600
        )

    def submit(self, chunk: list[Cell]) -> None:
        watch = Watch(self.marks.name, self.limit)
        try:
            self.flying[self.pool.submit(compute_chunk, self.compute, self.scenario, chunk, watch)] = chunk
        except BrokenProcessPool:
            self.refused.append(chunk)

    def collect(self, timeout: float | None = None) -> list[Outcome]:
        if not self.refused:
            wait(self.flying, timeout, return_when=FIRST_COMPLETED)
        outcomes, lost = self._done()
        if lost or self.refused:
            outcomes += self._bury(lost)
        return outcomes

    def _done(self) -> tuple[list[Outcome], list[list[Cell]]]:
        """Finished chunks, and chunks whose worker died."""
        outcomes, lost = [], []
        for future in [future for future in self.flying if future.done()]:
            chunk = self.flying.pop(future)
            try:
                rows, seconds = future.result()
            except BrokenProcessPool:
                lost.append(chunk)
            else:
                outcomes.append(Outcome(chunk, rows, seconds))
        return outcomes, lost

    def _bury(self, lost: list[list[Cell]]) -> list[Outcome]:
        """Replace the pool. What its workers had in hand is suspect, if that is known; else all that was in flight."""
        lost = [*lost, *self.flying.values()]
        self.flying.clear()
        self._end()
        marks = read_marks(Path(self.marks.name))
        self.marks.cleanup()
        self._start()
        hung = {cell: stack for cell, stack in marks.items() if stack.startswith("Timeout (")}
        blamed = hung or marks or {cell: "" for chunk in lost for cell in chunk}
        outcomes = [Outcome(chunk, None) for chunk in self.refused]
        self.refused = []
        for chunk in lost:
            suspects = [cell for cell in chunk if cell in blamed]
            outcomes.append(
                Outcome(chunk, None, suspects=suspects, hung={cell: hung[cell] for cell in chunk if cell in hung})
            )
        return outcomes

    def _end(self) -> None:
        self.pool.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]

    def close(self) -> None:
        self._end()
        self.marks.cleanup()


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_executor(
    name: str | None, compute: Compute, scenario: Scenario, *, jobs: int | None = None, limit: float | None = None,
    device: str = "cpu", address: str | None = None, work: int | None = None,
) -> Executor:  # fmt: skip
    """The executor of a name; without one, worker processes, or this process where one worker is enough.

    ``work`` is the number of cells to be computed: there are no more workers than that.

    Raises
    ------
    ValueError
        If there is no such executor, or a setting is none of its.
    """
    workers = jobs or available_cores()
    workers = workers if work is None else max(1, min(workers, work))
    chosen = name or ("dask" if address else "serial" if workers == 1 and limit is None else "processes")
    if chosen not in EXECUTORS:
        raise ValueError(f"executor must be one of {', '.join(EXECUTORS)}, got {name!r}")
    if address is not None and chosen != "dask":
        raise ValueError(f"a scheduler's address goes with the executor dask, got {chosen!r}")
    if device != "cpu" and chosen != "batched":
        raise ValueError(f"device {device!r} goes with the executor batched, got {chosen!r}")
    if limit is not None and chosen in ("serial", "batched"):
        raise ValueError(f"a time limit on cells needs workers that can be ended; {chosen} computes in this process")
    if chosen in ("serial", "batched") and jobs is not None and jobs > 1:
        raise ValueError(f"the executor {chosen} has one worker, got jobs={jobs}")
    if chosen == "dask":
        from .dask_executor import Dask

        return Dask(compute, scenario, workers, address=address, limit=limit)
    if chosen == "batched":
        from .batches import Batched

        return Batched(compute, scenario, device)
    if chosen == "serial":
        return Serial(compute, scenario)
    return Processes(compute, scenario, workers, limit)
