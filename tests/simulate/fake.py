"""Stand-ins for `run_cell`: deterministic rows from the keyed streams, workers that die or hang; a small run of them."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from moestat.simulate import Run, run
from moestat.simulate.cells import failed_rows
from moestat.simulate.scenario import Cell, Scenario
from moestat.simulate.seeds import stream

NAME, GRID, REPS, ROWS = "softmax-gaussian-exact", [100, 200, 400], 12, 3 * 12 * 5


def go(out: Path, **options: Any) -> Run:
    """Run 36 quick cells in this process, or as the options say."""
    return run(NAME, **({"n_grid": GRID, "reps": REPS, "jobs": 1, "out": out, "compute": quick_cell} | options))


def quick_cell(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    rows = failed_rows(scenario, cell, "converged", "", certified=True, seconds=time.perf_counter())
    rng = stream(scenario.root_seed, scenario.id, cell.n, cell.rep)
    for row in rows:
        row["value"] = float(rng.exponential() / cell.n**0.5)
        row["data_crc"] = int(rng.integers(2**32))
    rows[0]["value"] = float("nan") if cell.rep == 3 else rows[0]["value"]
    return rows


def slow_cell(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    time.sleep(0.01)
    return quick_cell(scenario, cell)


def deadly_cell(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    """Replicate 5 at n = 200 kills its worker."""
    if (cell.n, cell.rep) == (200, 5):
        os.kill(os.getpid(), signal.SIGKILL)
    return quick_cell(scenario, cell)


_WARM: set[int] = set()


def slow_first(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    """The first cell of a process takes long, as where code is compiled."""
    if os.getpid() not in _WARM:
        _WARM.add(os.getpid())
        time.sleep(0.4)
    return quick_cell(scenario, cell)


def aborting_cell(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    """Replicate 5 at n = 200 ends its worker as a fault in compiled code does."""
    if (cell.n, cell.rep) == (200, 5):
        os.abort()
    return quick_cell(scenario, cell)


def sleeping_cell(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    """Replicate 5 at n = 200 waits for ever in Python."""
    if (cell.n, cell.rep) == (200, 5):
        time.sleep(1000)
    return quick_cell(scenario, cell)


def spinning_cell(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    """Replicate 5 at n = 200 does not end, in C code that never lets go of the interpreter."""
    if (cell.n, cell.rep) == (200, 5):
        re.fullmatch(r"(a+)+", "a" * 60 + "b")
    return quick_cell(scenario, cell)


def sometimes_hanging_cell(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    """One replicate hangs the first time that it is computed."""
    mark = Path(os.environ["MOESTAT_TEST_MARK"])
    if (cell.n, cell.rep) == (200, 5) and not mark.exists():
        mark.touch()
        time.sleep(1000)
    return quick_cell(scenario, cell)


def raising_cell(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    """`run_cell`, whose fit raises in replicate 1."""
    import moestat.fitting
    from moestat.simulate import run_cell

    original = moestat.fitting.fit_mixture

    def fit_mixture(*args: Any, **kwargs: Any) -> Any:
        if cell.rep == 1:
            raise RuntimeError("no luck")
        return original(*args, **kwargs)

    moestat.fitting.fit_mixture = fit_mixture
    try:
        return run_cell(scenario, cell)
    finally:
        moestat.fitting.fit_mixture = original


def cells_with(frame: Any, status: str) -> set[tuple[int, int]]:
    """(n, rep) of the records with a status."""
    chosen = frame[frame["status"] == status]
    return {(int(n), int(rep)) for n, rep in zip(chosen["n"], chosen["rep"], strict=True)}


def marked_cell(scenario: Scenario, cell: Cell) -> list[dict[str, Any]]:
    """`slow_cell`, whose worker leaves its process id."""
    (Path(os.environ["MOESTAT_TEST_MARK"]) / str(os.getpid())).touch()
    return slow_cell(scenario, cell)
