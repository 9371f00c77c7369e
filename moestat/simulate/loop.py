"""The loop of a run: submit chunks, write what comes back, survive workers that die."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple
from typing import Any

from .chunks import ChunkQueue, Rows
from .executors import Executor, Outcome
from .progress import Progress
from .records import CELL_KEY, FAILURES
from .scenario import Cell, Scenario
from .store import Store

__all__ = ["Interrupted", "Loop", "TimeIsUp", "signals_interrupt"]


class Interrupted(KeyboardInterrupt):
    """The run was stopped from outside; all finished chunks are on disk, and the same call resumes."""


class TimeIsUp(Interrupted):
    """The run has used its ``max_time``; all finished chunks are on disk, and the same call resumes."""


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does (only the main thread may set handlers)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Loop:
    """Runs cells on an executor and writes their records.

    A cell that is suspected to have killed a worker is run again with nothing else in flight, so that a death names
    it. A cell that dies in this way as often as the executor's patience allows is recorded as ``crashed``, or as
    ``timeout`` if it was ended by the time limit; what the limit ended is known by name at once.
    """

    def __init__(
        self, scenario: Scenario, store: Store, executor: Executor, progress: Progress,
        report: Callable[[Progress], None], *, limit: float | None = None, deadline: float | None = None,
    ) -> None:  # fmt: skip
        self.scenario, self.store, self.executor = scenario, store, executor
        self.progress, self.report = progress, report
        self.limit, self.deadline = limit, deadline
        self.began = time.monotonic()
        self.flying = 0
        self.alone: tuple[Cell, float] | None = None
        self.suspects: list[Cell] = []
        self.deaths: dict[Cell, int] = {}
        self.queue = ChunkQueue(scenario, [], executor.chunk_seconds, executor.first_chunk)

    def run(self, cells: list[Cell]) -> None:
        """Compute the cells; on KeyboardInterrupt what is finished is written first."""
        self.queue.add(cells)
        try:
            while self.queue or self.suspects or self.flying:
                self._submit()
                self._settle(self.executor.collect(self._time_left()))
        except KeyboardInterrupt:
            self._settle(self.executor.collect(0))
            raise

    def _time_left(self) -> float | None:
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeIsUp("the time is up")
        return left

    def _submit(self) -> None:
        """Keep the workers busy; a suspect waits until it is alone."""
        if self.suspects and not self.flying:
            cell = self.suspects.pop(0)
            self.alone = (cell, time.monotonic())
            self._send([cell])
        while not self.suspects and self.alone is None and self.queue and self.flying < self.executor.room:
            self._send(self.queue.take(self.executor.width))

    def _send(self, chunk: list[Cell]) -> None:
        self.executor.submit(chunk)
        self.flying += 1

    def _settle(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self.flying -= 1
            if outcome.rows is None:
                self._lost(outcome)
            else:
                self._finished(outcome.chunk, outcome.rows, outcome.seconds)
        if outcomes and not self.flying:
            self.alone = None

    def _finished(self, chunk: list[Cell], rows: Rows, seconds: float) -> None:
        with_rows = {tuple(row[key] for key in CELL_KEY) for row in rows}
        done = [cell for cell in chunk if astuple(cell) in with_rows]
        if not done:
            raise ValueError(f"no records came back of {len(chunk)} cells, the first {chunk[0]}")
        if len(done) < len(chunk):
            self.queue.give_back(sorted(set(chunk) - set(done), reverse=True))
        self.queue.learn(done, seconds)
        self.record(done, rows)

    def _lost(self, outcome: Outcome) -> None:
        self.queue.give_back(cell for cell in outcome.chunk if cell not in outcome.suspects)
        for cell in outcome.suspects:
            alone = self.alone is not None and self.alone[0] == cell
            waited = time.monotonic() - self.alone[1] if alone and self.alone is not None else 0.0
            hung = cell in outcome.hung or (self.limit is not None and waited >= self.limit)
            if alone or hung:
                self.deaths[cell] = self.deaths.get(cell, 0) + 1
            if self.deaths.get(cell, 0) >= self.executor.patience:
                self._give_up(cell, hung, outcome.hung.get(cell, ""))
            else:
                self.suspects.append(cell)

    def _give_up(self, cell: Cell, hung: bool, stack: str) -> None:
        from .cells import failed_rows

        if hung:
            message = f"no result within {self.limit:g} s"
            self.record([cell], failed_rows(self.scenario, cell, "timeout", message, traceback=stack))
        else:
            self.record([cell], failed_rows(self.scenario, cell, "crashed", "the worker process died"))

    def record(self, chunk: list[Cell], rows: Rows) -> None:
        """Write the records of a chunk and report the progress."""
        self.store.write(rows)
        progress = self.progress
        first_rows = {tuple(row[key] for key in CELL_KEY): row for row in rows}
        progress.failures += sum(row["status"] in FAILURES for row in first_rows.values())
        progress.uncertified += sum(not row["certified"] for row in first_rows.values())
        for cell in chunk:
            progress.done += 1
            progress.work_done += self.scenario.cost(cell)
            progress.by_n[cell.n][0] += 1
        progress.seconds = time.monotonic() - self.began
        if progress.warm is None and progress.done >= max(3, self.executor.width):
            progress.warm = (progress.seconds, progress.work_done)
        self.report(progress)
