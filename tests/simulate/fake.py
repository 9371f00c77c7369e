"""Stand-ins for `run_cell`: deterministic rows from the keyed streams, and workers that die."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from moestat.simulate.cells import failed_rows
from moestat.simulate.scenario import Cell, Scenario
from moestat.simulate.seeds import stream


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
