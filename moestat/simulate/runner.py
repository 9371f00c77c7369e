"""Run the cells of a scenario on several processes; resume, retry after dead workers, stop cleanly."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .library import load_scenario
from .progress import Progress
from .scenario import Cell, Scenario
from .store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Interrupted", "Progress", "Run", "run"]

Rows = list[dict[str, Any]]
Compute = Callable[[Scenario, Cell], Rows]
Flying = dict[Future[tuple[Rows, float]], list[Cell]]
CHUNK_SECONDS = 3.0
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


class Interrupted(KeyboardInterrupt):
    """The run was stopped from outside; all finished chunks are on disk."""


@dataclass(frozen=True)
class Run:
    """A folder of records with the scenario that made them."""

    path: Path
    scenario: Scenario
    computed: int = 0

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open an existing run; FileNotFoundError if the folder is none."""
        return cls(Path(path), Store(path).scenario())

    def frame(self) -> pd.DataFrame:
        """All records, in canonical order."""
        return Store(self.path).read()[0]

    def coverage(self, frame: pd.DataFrame) -> tuple[int, int]:
        """Cells that the records ``frame`` hold, and cells in all, of what the last call of `run` asked for."""
        store = Store(self.path)
        planned = store.planned(frame)
        return len(planned) - len(store.missing(planned, frame)), len(planned)


class _Queue:
    """Pending cells, longest first, handed out in chunks of about ``CHUNK_SECONDS``."""

    def __init__(self, scenario: Scenario, cells: list[Cell]) -> None:
        self.scenario = scenario
        self.pending: dict[tuple[str, int, int], list[Cell]] = {}
        for cell in sorted(cells, key=lambda c: (-scenario.cost(c), c)):
            self.pending.setdefault((cell.fit, cell.n_experts, cell.n), []).append(cell)
        self.suspects: list[Cell] = []
        self.speed: dict[tuple[str, int, int], float] = {}

    def __len__(self) -> int:
        return len(self.suspects) + sum(map(len, self.pending.values()))

    def take(self, jobs: int) -> list[Cell]:
        """The next chunk: cells of one fit and one n; a single cell while its duration is unknown."""
        key = next(iter(self.pending))
        cells = self.pending[key]
        per_cell = self.speed.get(key)
        size = 1 if per_cell is None else max(1, int(CHUNK_SECONDS / max(per_cell, 1e-4)))
        size = min(size, max(1, -(-len(cells) // jobs)))
        chunk, rest = cells[:size], cells[size:]
        if rest:
            self.pending[key] = rest
        else:
            del self.pending[key]
        return chunk

    def give_back(self, chunk: list[Cell]) -> None:
        key = (chunk[0].fit, chunk[0].n_experts, chunk[0].n)
        self.pending[key] = chunk + self.pending.get(key, [])

    def learn(self, chunk: list[Cell], seconds: float) -> None:
        self.speed[(chunk[0].fit, chunk[0].n_experts, chunk[0].n)] = seconds / len(chunk)


def _compute_chunk(compute: Compute, scenario: Scenario, chunk: list[Cell]) -> tuple[Rows, float]:
    start = time.perf_counter()
    rows = [row for cell in chunk for row in compute(scenario, cell)]
    return rows, time.perf_counter() - start


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what a Ctrl-C means


def _new_executor(jobs: int) -> Executor:
    from joblib.externals.loky import ProcessPoolExecutor

    pool: Executor = ProcessPoolExecutor(max_workers=jobs, env=_ONE_THREAD, initializer=_start_worker, timeout=600)
    return pool


def _stop(executor: Executor) -> None:
    executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
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


class _Loop:
    """Submit chunks, write what comes back, survive dying workers.

    When a worker dies, every chunk in flight is suspect. Suspects are run again one cell at a time with nothing else
    in flight, so that a death names its cell; a cell that kills its worker twice in this way is recorded as crashed.
    """

    def __init__(
        self, scenario: Scenario, store: Store, queue: _Queue, progress: Progress, report: Callable[[Progress], None],
        compute: Compute, jobs: int,
    ) -> None:  # fmt: skip
        self.scenario, self.store, self.queue, self.progress = scenario, store, queue, progress
        self.report, self.compute, self.jobs = report, compute, jobs
        self.began = time.monotonic()

    def record(self, chunk: list[Cell], rows: Rows) -> None:
        self.store.write(rows)
        progress = self.progress
        first_rows = {(row["fit"], row["n_experts"], row["n"], row["rep"]): row for row in rows}
        progress.failures += sum(row["status"] in ("failed", "crashed") for row in first_rows.values())
        progress.uncertified += sum(not row["certified"] for row in first_rows.values())
        for cell in chunk:
            progress.done += 1
            progress.work_done += self.scenario.cost(cell)
            progress.by_n[cell.n][0] += 1
        progress.seconds = time.monotonic() - self.began
        if progress.warm is None and progress.done >= max(3, self.jobs):
            progress.warm = (progress.seconds, progress.work_done)
        self.report(progress)

    def serial(self) -> None:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # sums must not depend on the number of threads
            while len(self.queue):
                chunk = self.queue.take(1)
                rows, seconds = _compute_chunk(self.compute, self.scenario, chunk)
                self.queue.learn(chunk, seconds)
                self.record(chunk, rows)

    def parallel(self) -> None:
        executor = _new_executor(self.jobs)
        flying: Flying = {}
        deaths: dict[Cell, int] = {}
        try:
            while len(self.queue) or flying:
                healthy = self._submit(executor, flying)
                finished, _ = wait(flying, return_when=FIRST_COMPLETED)
                broken = self._collect(finished, flying)
                if broken or not healthy:
                    self._collect({future for future in flying if future.done()}, flying, broken)
                    suspects = [cell for chunk in [*broken, *flying.values()] for cell in chunk]
                    flying.clear()
                    _stop(executor)
                    executor = _new_executor(self.jobs)
                    self._judge(suspects, deaths)
        except KeyboardInterrupt:
            self._collect({future for future in flying if future.done()}, flying)
            raise
        finally:
            _stop(executor)

    def _submit(self, executor: Executor, flying: Flying) -> bool:
        """Keep the workers busy; False if the pool turned out to be dead."""
        queue = self.queue
        while len(flying) < (1 if queue.suspects else self.jobs + 1) and len(queue):
            chunk = [queue.suspects.pop(0)] if queue.suspects else queue.take(self.jobs)
            try:
                flying[executor.submit(_compute_chunk, self.compute, self.scenario, chunk)] = chunk
            except BrokenProcessPool:
                queue.give_back(chunk)
                return False
        return True

    def _collect(
        self, finished: set[Future[tuple[Rows, float]]], flying: Flying, broken: list[list[Cell]] | None = None
    ) -> list[list[Cell]]:
        """Record what finished; return the chunks whose worker died."""
        broken = [] if broken is None else broken
        for future in finished:
            chunk = flying.pop(future)
            try:
                rows, seconds = future.result()
            except BrokenProcessPool:
                broken.append(chunk)
                continue
            self.queue.learn(chunk, seconds)
            self.record(chunk, rows)
        return broken

    def _judge(self, suspects: list[Cell], deaths: dict[Cell, int]) -> None:
        if len(suspects) == 1:
            cell = suspects[0]
            deaths[cell] = deaths.get(cell, 0) + 1
            if deaths[cell] >= 2:
                from .cells import failed_rows

                self.record([cell], failed_rows(self.scenario, cell, "crashed", "the worker process died twice"))
                return
        self.queue.suspects[:0] = suspects


def run(
    scenario: Scenario | str | Path,
    preset: str = "quick",
    *,
    n_grid: list[int] | None = None,
    reps: int | None = None,
    jobs: int | None = None,
    out: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    compute: Compute | None = None,
) -> Run:
    """Run a scenario, or take it up where it stopped.

    Cells that the folder holds already are not computed again: the same call resumes an interrupted run, more
    replicates or sample sizes extend it.

    Parameters
    ----------
    scenario : Scenario, str or Path
        A scenario, its name, or a TOML file.
    preset : {"smoke", "quick", "full"}
        Sample sizes and replicates; ``n_grid`` and ``reps`` override them.
    jobs : int, optional
        Worker processes, one thread each; default: all cores this process may use. 1 computes in this process.
    out : path, optional
        Folder of the run; default ``moestat-runs/<scenario>-<preset>``.
    progress : callable, optional
        Called with a `Progress` after every chunk.
    compute : callable, optional
        ``compute(scenario, cell) -> rows``, in place of `run_cell`.

    Returns
    -------
    Run

    Raises
    ------
    Interrupted
        On Ctrl-C or SIGTERM, after all finished chunks were written. The same call resumes.
    ChangedScenarioError
        If the folder holds records of another declaration.
    ValueError
        If the preset is unknown, or a number is out of range.
    """
    chosen = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    if preset not in ("smoke", "quick", "full"):
        raise ValueError(f"preset must be smoke, quick or full, got {preset!r}")
    settings = getattr(chosen.presets, preset)
    grid = sorted(set(settings.n if n_grid is None else n_grid))
    replicates = settings.reps if reps is None else reps
    workers = _available_cores() if jobs is None else jobs
    if not grid or grid[0] < 2 or replicates < 1 or workers < 1:
        raise ValueError(f"need n >= 2, reps >= 1 and jobs >= 1, got n={grid}, reps={replicates}, jobs={workers}")
    if compute is None:
        from .cells import run_cell

        compute = run_cell
    store = Store(out if out is not None else Path("moestat-runs") / f"{chosen.id}-{preset}")
    store.open(chosen, grid, replicates, settings.max_experts)
    recorded, damaged = store.read()
    store.set_aside(damaged)
    cells = chosen.cells(grid, replicates, settings.max_experts)
    todo = store.missing(cells, recorded)
    state = Progress(
        total=len(todo), recorded=len(cells) - len(todo), work_total=sum(map(chosen.cost, todo)),
        by_n={n: [0, sum(cell.n == n for cell in todo)] for n in grid},
    )  # fmt: skip
    report = progress or (lambda _: None)
    report(state)
    if todo:
        workers = min(workers, len(todo))
        loop = _Loop(chosen, store, _Queue(chosen, todo), state, report, compute, workers)
        with _sigterm_interrupts():
            try:
                if workers == 1:
                    loop.serial()
                else:
                    loop.parallel()
            except KeyboardInterrupt:
                raise Interrupted(f"{state.done} of {state.total} cells done") from None
    return Run(store.path, chosen, len(todo))


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
