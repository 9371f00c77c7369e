"""Which cells a run consists of: by n and replicates, dealt to shards, grown until a standard error is reached."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .loss_names import OF_FITS
from .scenario import Cell, Scenario

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["deal", "log_mean_errors", "more_replicates", "parse_shard", "planned_cells"]


def planned_cells(scenario: Scenario, reps: Mapping[int, int], max_experts: int | None = None) -> list[Cell]:
    """The cells of ``reps`` (sample size -> replicates); a fit without losses has no records, and no cells."""
    return [
        cell for n in sorted(reps) for cell in scenario.cells([n], reps[n], max_experts) if scenario.losses_of(cell.fit)
    ]


def parse_shard(text: str) -> tuple[int, int]:
    """``"3/100"`` as (3, 100).

    Raises
    ------
    ValueError
        Unless it is i/N with 1 <= i <= N.

    Examples
    --------
    >>> parse_shard("3/100")
    (3, 100)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    shard = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= shard[0] <= shard[1]:
        raise ValueError(f"a shard is i/N with 1 <= i <= N, such as 3/100, got {text!r}")
    return shard


def deal(scenario: Scenario, cells: Iterable[Cell], shard: tuple[int, int]) -> list[Cell]:
    """The cells of shard i of N.

    Cells are dealt replicate by replicate, the costly first, each to the shard with the least work so far. Every
    process finds the same deal, shards differ by no more than one cell's cost, and more replicates move no cell.

    Parameters
    ----------
    cells : iterable of Cell
        All cells of the run, recorded or not.
    shard : (int, int)
        i and N, 1 <= i <= N.
    """
    index, count = shard
    heap = [(0.0, i) for i in range(1, count + 1)]
    mine = []
    for cell in sorted(cells, key=lambda c: (c.rep, -scenario.cost(c), c)):
        work, i = heap[0]
        heapq.heapreplace(heap, (work + scenario.cost(cell), i))
        if i == index:
            mine.append(cell)
    return mine


def log_mean_errors(frame: pd.DataFrame, scenario: Scenario) -> pd.Series[float]:
    r"""Standard error of the log of each mean loss, by n: the largest of all fits and losses that a theorem speaks of.

    By the delta method :math:`\mathrm{se}(\log \bar L) = s / (\sqrt R\, \bar L)`, with s the standard deviation of R
    replicates. NaN where there are fewer than two.
    """
    import numpy as np

    promised = {(scenario.fit_of(loss).id, loss.name) for loss in scenario.loss if loss.exponent is not None}
    every = {(scenario.fit_of(loss).id, loss.name) for loss in scenario.loss if loss.name not in OF_FITS}
    wanted = promised or every
    rows = frame[np.array([pair in wanted for pair in zip(frame["fit"], frame["loss"], strict=True)], dtype=bool)]
    values = rows.dropna(subset=["value"]).groupby(["n", "fit", "n_experts", "loss"])["value"]
    errors = values.std() / (values.count() ** 0.5 * values.mean().where(values.mean() > 0))
    return errors.groupby("n").max()


def more_replicates(
    frame: pd.DataFrame, scenario: Scenario, reps: Mapping[int, int], target: float, cap: int
) -> dict[int, int]:
    """Replicates at each n that the target asks for, judged from the first ``reps[n]`` alone; never above ``cap``.

    At most doubled at once, because the error itself is estimated. As nothing else enters, a run that is stopped and
    taken up again, or computed elsewhere, ends with the same replicates.
    """
    grown = {}
    for n, count in reps.items():
        errors = log_mean_errors(frame[(frame["n"] == n) & (frame["rep"] < count)], scenario)
        error = float(errors.get(n, math.nan))
        factor = 2.0 if math.isnan(error) else min(2.0, (error / target) ** 2)
        grown[n] = count if factor <= 1 else min(cap, max(count + 1, math.ceil(count * factor)))
    return grown
