"""What a run has done: cells by fit and n, the slowest, the time left, failures by their message."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .chunks import Group, group_of
from .records import CELL_KEY, FAILURES
from .scenario import Cell, Scenario
from .store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FailureGroup",
    "RunStatus",
    "SizeStatus",
    "failure_groups",
    "predict_seconds",
    "replay_line",
    "run_status",
]


@dataclass(frozen=True)
class SizeStatus:
    """Cells of one fit at one n."""

    fit: str
    n: int
    planned: int
    done: int
    failed: int
    uncertified: int
    seconds: float
    """Median seconds a cell, NaN before the first."""


@dataclass(frozen=True)
class RunStatus:
    """What `run_status` found."""

    scenario: Scenario
    sizes: list[SizeStatus]
    slowest: list[tuple[Cell, float, str]]
    """Cell, seconds and status."""
    seconds_left: float
    """Of one core."""
    damaged: list[Path]

    @property
    def done(self) -> int:
        return sum(size.done for size in self.sizes)

    @property
    def planned(self) -> int:
        return sum(size.planned for size in self.sizes)


@dataclass(frozen=True)
class FailureGroup:
    """Failed cells with the same message, numbers apart."""

    status: str
    message: str
    count: int
    sizes: list[int]
    first: Cell
    traceback: str


def one_row_a_cell(frame: pd.DataFrame) -> pd.DataFrame:
    """The first record of every cell, or its first failed one; ``certified`` only if all its records are."""
    keys = list(CELL_KEY)
    ordered = frame.assign(failed=frame["status"].isin(FAILURES)).sort_values(
        [*keys, "failed"], ascending=[True] * 4 + [False], kind="stable"
    )
    ordered["certified"] = ordered.groupby(keys)["certified"].transform("all")
    return ordered.drop_duplicates(keys)


def _cell(row: Mapping[Any, Any]) -> Cell:
    return Cell(str(row["fit"]), int(row["n_experts"]), int(row["n"]), int(row["rep"]))


def predict_seconds(scenario: Scenario, measured: Mapping[Group, float], cells: Iterable[Cell]) -> float:
    """Seconds of one core for ``cells``: as measured in their group, else from the group of nearest cost.

    Between groups time is taken to grow as cost to a power, found from the measured groups of the fit by least squares;
    as cost itself where these are fewer than three or within a factor of four. NaN if nothing was measured.
    """
    known = {group: seconds for group, seconds in measured.items() if math.isfinite(seconds) and seconds > 0}
    costs = {group: scenario.cost(Cell(*group, 0)) for group in known}
    powers = {fit: _power([(costs[g], known[g]) for g in known if g[0] == fit]) for fit in {g[0] for g in known}}
    seconds: dict[Group, float] = {}
    total = 0.0
    for cell in cells:
        group = group_of(cell)
        if group not in seconds:
            cost = scenario.cost(cell)
            nearest = min(
                known, key=lambda g: (g != group, g[0] != group[0], abs(math.log(costs[g] / cost))), default=None
            )
            seconds[group] = (
                math.nan if nearest is None else known[nearest] * (cost / costs[nearest]) ** powers[nearest[0]]
            )
        total += seconds[group]
    return total


def _power(points: list[tuple[float, float]]) -> float:
    """Slope of log seconds in log cost, between 0 and 1; 1 if there is too little to tell."""
    costs = [math.log(cost) for cost, _ in points]
    if len(points) < 3 or max(costs) - min(costs) < math.log(4):
        return 1.0
    centre = sum(costs) / len(costs)
    slope = sum((cost - centre) * math.log(seconds) for cost, (_, seconds) in zip(costs, points, strict=True))
    return min(1.0, max(0.0, slope / sum((cost - centre) ** 2 for cost in costs)))


def run_status(path: str | Path, slowest: int = 5) -> RunStatus:
    """Status of the run in a folder, also while it is running.

    Parameters
    ----------
    path : path
        Folder of the run.
    slowest : int
        How many of the slowest cells are listed.

    Raises
    ------
    FileNotFoundError
        If the folder is no run.
    """
    store = Store(path)
    scenario = store.scenario()
    frame, damaged = store.read()
    planned = store.planned(frame)
    cells = one_row_a_cell(frame)
    wanted = {(cell.fit, cell.n) for cell in planned}
    sizes = []
    for fit, n in sorted(wanted, key=lambda pair: ([f.id for f in scenario.fit].index(pair[0]), pair[1])):
        mine = cells[(cells["fit"] == fit) & (cells["n"] == n)]
        asked = [cell for cell in planned if (cell.fit, cell.n) == (fit, n)]
        sizes.append(
            SizeStatus(
                fit, n, len(asked), len(asked) - len(store.missing(asked, frame)),
                int(mine["status"].isin(FAILURES).sum()), int((~mine["certified"]).sum()),
                float(mine["seconds"].median()),
            )
        )  # fmt: skip
    seconds = cells.groupby(["fit", "n_experts", "n"])["seconds"].mean().to_frame().reset_index()
    measured = {(row["fit"], row["n_experts"], row["n"]): row["seconds"] for row in seconds.to_dict("records")}
    top = cells.dropna(subset=["seconds"]).nlargest(slowest, "seconds").to_dict("records")
    slow = [(_cell(row), float(row["seconds"]), str(row["status"])) for row in top]
    left = predict_seconds(scenario, measured, store.missing(planned, frame))
    return RunStatus(scenario, sizes, slow, left, damaged)


def failure_groups(frame: pd.DataFrame) -> list[FailureGroup]:
    """Failed, crashed and timed-out cells by status and message, numbers in it apart; the most frequent first."""
    cells = one_row_a_cell(frame)
    groups: dict[tuple[str, str], list[dict[Any, Any]]] = {}
    for row in cells[cells["status"].isin(FAILURES)].to_dict("records"):
        alike = re.sub(r"[-+]?\d[\d.]*(e[-+]?\d+)?", "#", row["message"])
        groups.setdefault((row["status"], alike), []).append(row)
    found = [
        FailureGroup(
            status, rows[0]["message"], len(rows), sorted({int(row["n"]) for row in rows}), _cell(rows[0]),
            str(rows[0]["traceback"] or ""),
        )
        for (status, _), rows in groups.items()
    ]  # fmt: skip
    return sorted(found, key=lambda group: (-group.count, group.first))


def replay_line(path: str | Path, cell: Cell) -> str:
    """The command that computes a recorded cell again.

    Examples
    --------
    >>> replay_line("my runs/a", Cell("k2", 2, 100, 7))
    "moestat replay 'my runs/a' --n 100 --rep 7 --fit k2 --experts 2"
    """
    return (
        f"moestat replay {shlex.quote(str(path))} --n {cell.n} --rep {cell.rep} --fit {cell.fit} "
        f"--experts {cell.n_experts}"
    )
