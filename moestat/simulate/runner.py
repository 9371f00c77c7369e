"""Run the cells of a scenario, or take a run up where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .chunks import Compute
from .executors import make_executor
from .library import load_scenario
from .loop import Interrupted, Loop, TimeIsUp, signals_interrupt
from .parts import Preset
from .plan import deal, more_replicates, planned_cells
from .progress import Progress
from .records import CELL_KEY
from .scenario import Cell, Scenario
from .store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Interrupted", "Progress", "Run", "TimeIsUp", "run"]

PRESETS = ("smoke", "quick", "full")
CAP_FACTOR = 10  # replicates at most, in multiples of the preset's, when only a standard error is asked for


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

    def table(self) -> pd.DataFrame:
        """Slope, interval, the theorem's exponent and verdict of every declared loss, one row a loss."""
        import pandas as pd

        from .claims import estimate_rates

        rates = estimate_rates(self.frame(), self.scenario).items()
        rows = [(label, rate.slope, *rate.ci, rate.theory, rate.verdict) for label, rate in rates]
        return pd.DataFrame(rows, columns=["loss", "slope", "low", "high", "theory", "verdict"]).round(3)

    def coverage(self, frame: pd.DataFrame) -> tuple[int, int]:
        """Cells that the records ``frame`` hold, and cells in all, of what the last call of `run` asked for."""
        store = Store(self.path)
        planned = store.planned(frame)
        return len(planned) - len(store.missing(planned, frame)), len(planned)

    def of_shard(self, frame: pd.DataFrame, shard: tuple[int, int]) -> pd.DataFrame:
        """The records of ``frame`` that belong to shard (i, N)."""
        mine = {astuple(cell) for cell in deal(self.scenario, Store(self.path).planned(frame), shard)}
        keys = zip(*(frame[key] for key in CELL_KEY), strict=True)
        return frame.loc[[label for label, key in zip(frame.index, keys, strict=True) if key in mine]]


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
    executor: str | None = None,
    device: str = "cpu",
    address: str | None = None,
    cell_timeout: float | None = None,
    shard: tuple[int, int] | None = None,
    max_time: float | None = None,
    target_se: float | None = None,
    retry: bool = False,
) -> Run:
    """Run a scenario, or take it up where it stopped.

    Cells that the folder holds already are not computed again: the same call resumes an interrupted run, more
    replicates or sample sizes extend it. The records do not depend on executor, number of workers, order, shards and
    interruptions, bit for bit; only ``batched`` has arithmetic of its own.

    Parameters
    ----------
    scenario : Scenario, str or Path
        A scenario, its name, or a TOML file.
    preset : {"smoke", "quick", "full"}
        Sample sizes and replicates; ``n_grid`` and ``reps`` override them.
    jobs : int, optional
        Workers, one thread each; default: all cores this process may use. 1 computes in this process.
    out : path, optional
        Folder of the run; default ``moestat-runs/<scenario>-<preset>``.
    progress : callable, optional
        Called with a `Progress` after every chunk.
    compute : callable, optional
        ``compute(scenario, cell) -> rows``, in place of `run_cell`.
    executor : {"serial", "processes", "dask", "batched"}, optional
        Where cells are computed; default: worker processes, or this process if ``jobs`` is 1.
    device : str
        Of ``batched``: "cpu" or "cuda".
    address : str, optional
        Of ``dask``: a scheduler's address; default: a cluster on this machine.
    cell_timeout : float, optional
        Seconds that a cell may take. Its worker is ended and replaced; after the second time the cell is recorded
        as ``timeout``.
    shard : (int, int), optional
        (i, N): only the i-th of N equal parts of the cells, for job arrays; see `moestat.simulate.plan.deal`.
    max_time : float, optional
        Seconds after which the run stops. Chunks in flight are given up.
    target_se : float, optional
        Replicates are added until the standard error of the log mean loss is below it at every n, for every loss
        with an exponent. ``reps`` is then the most that are made (default: ten times the preset's).
    retry : bool
        Whether cells that failed, crashed or timed out are computed again.

    Returns
    -------
    Run

    Raises
    ------
    Interrupted
        On Ctrl-C or SIGTERM, after all finished chunks were written. The same call resumes.
    TimeIsUp
        An `Interrupted`: after ``max_time``.
    ChangedScenarioError
        If the folder holds records of another declaration.
    WriteError
        If records cannot be written, as on a full disk; the folder stays intact.
    ValueError
        If the preset or executor is unknown, or a number is out of range.
    """
    began = time.monotonic()
    chosen = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    if preset not in PRESETS:
        raise ValueError(f"preset must be smoke, quick or full, got {preset!r}")
    if jobs is not None and jobs < 1:
        raise ValueError(f"need jobs >= 1, got {jobs}")
    for name, value in (("cell_timeout", cell_timeout), ("max_time", max_time), ("target_se", target_se)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    if target_se is not None and shard is not None:
        raise ValueError("target_se needs the replicates of all shards; give shards a fixed number of replicates")
    settings: Preset = getattr(chosen.presets, preset)
    planned, cap = _first_plan(settings, n_grid, reps, target_se)
    if compute is None:
        from .cells import run_cell

        compute = run_cell
    store = Store(out if out is not None else Path("moestat-runs") / f"{chosen.id}-{preset}")
    store.open(chosen, planned, settings.max_experts)
    recorded, damaged = store.read()
    store.set_aside(damaged)

    def missing(again: bool = False) -> tuple[list[Cell], int]:
        cells = planned_cells(chosen, planned, settings.max_experts)
        cells = cells if shard is None else deal(chosen, cells, shard)
        return store.missing(cells, recorded, failed=again), len(cells)

    todo, total = missing(retry)
    state = Progress(total=0, recorded=total - len(todo), by_n={n: [0, 0] for n in planned})
    report = progress or (lambda _: None)
    if not todo and target_se is None:
        report(state)
        return Run(store.path, chosen)
    engine = make_executor(
        executor, compute, chosen, jobs=jobs, limit=cell_timeout, device=device, address=address,
        work=len(todo) if target_se is None else None,
    )  # fmt: skip
    deadline = None if max_time is None else began + max_time
    loop = Loop(chosen, store, engine, state, report, limit=cell_timeout, deadline=deadline)
    with signals_interrupt():
        try:
            while True:
                state.expect(todo, chosen.cost)
                report(state)
                loop.run(todo)
                if target_se is None:
                    break
                recorded = store.read()[0]
                grown = more_replicates(recorded, chosen, planned, target_se, cap)
                if grown == planned:
                    break
                planned = grown
                store.open(chosen, planned, settings.max_experts)
                todo, _ = missing()
        except KeyboardInterrupt as stop:
            kind, what = (TimeIsUp, "Time is up") if isinstance(stop, TimeIsUp) else (Interrupted, "Interrupted")
            raise kind(f"{what}: {state.done} of {state.total} cells done") from None
        finally:
            engine.close()
    return Run(store.path, chosen, state.done)


def _first_plan(
    settings: Preset, n_grid: list[int] | None, reps: int | None, target_se: float | None
) -> tuple[dict[int, int], int]:
    """Replicates at each n to begin with, and the most that there may be."""
    grid = sorted(set(settings.n if n_grid is None else n_grid))
    count = settings.reps if reps is None else reps
    if not grid or grid[0] < 2 or count < 1:
        raise ValueError(f"need n >= 2 and reps >= 1, got n={grid}, reps={count}")
    if target_se is None:
        return dict.fromkeys(grid, count), count
    cap = CAP_FACTOR * count if reps is None else reps
    return dict.fromkeys(grid, min(settings.reps, cap)), cap
