"""Slopes of two or more runs or fits side by side: their differences, with intervals that use common data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .lines import Statistic, slope_interval
from .points import log_means, summarise
from .rates import RateEstimate
from .regression import Line, regress

if TYPE_CHECKING:
    import pandas as pd

    from .runner import Run

__all__ = ["Series", "SlopeDifference", "compare_runs", "compare_slopes", "series_of"]


@dataclass(frozen=True)
class Series:
    """The records of one loss of one run, ``n``, ``rep``, ``value`` and ``data_crc`` among their columns, with their rate."""

    where: str
    loss: str
    frame: pd.DataFrame
    rate: RateEstimate


@dataclass(frozen=True)
class SlopeDifference:
    """How much steeper or flatter ``second`` is than ``first``.

    Attributes
    ----------
    difference, standard_error, ci
        Slope of ``second`` minus slope of ``first``, over the sizes ``n_used`` that both have; NaN if withheld.
    paired : bool
        Whether both were computed from the same data, which the bootstrap then resamples together.
    """

    first: Series
    second: Series
    difference: float
    standard_error: float
    ci: tuple[float, float]
    n_used: tuple[int, ...]
    paired: bool


def series_of(run: Run, *, allow_uncertified: bool = False) -> list[Series]:
    """The losses of a run in declared order, each with its rate."""
    from .claims import estimate_rates, records_of

    frame, scenario = run.frame(), run.scenario
    rates = estimate_rates(frame, scenario, allow_uncertified=allow_uncertified, constants=False)
    return [
        Series(f"{run.path.name}:{fit.id}", loss.name + ("" if loss.at == "all" else f"@{loss.at}"),
               records_of(frame, loss, fit), rates[loss.label])
        for loss, fit in ((loss, scenario.fit_of(loss)) for loss in scenario.loss)
        if loss.label in rates
    ]  # fmt: skip


def compare_runs(runs: Sequence[Run], *, allow_uncertified: bool = False) -> list[SlopeDifference]:
    """Compare every loss that two or more runs, or two fits of one run, have in common, each with the first that has it."""
    series = [entry for run in runs for entry in series_of(run, allow_uncertified=allow_uncertified)]
    first: dict[str, Series] = {}
    found = []
    for entry in series:
        if entry.loss in first:
            found.append(compare_slopes(first[entry.loss], entry))
        else:
            first[entry.loss] = entry
    return found


def compare_slopes(
    first: Series, second: Series, *, statistic: Statistic = "mean", level: float = 0.95, n_boot: int = 2000
) -> SlopeDifference:
    """The difference of two slopes over the sizes that both have.

    Both lines leave out the same smallest sizes, as many as the one that needs more (see `estimate_rate`). Where the data of
    all shared replicates are the same (equal checksums), only those replicates enter, and they are resampled together.

    The difference is withheld (NaN) if one of the slopes is, or if they share fewer than two sizes with two replicates each.
    """
    nothing = SlopeDifference(first, second, math.nan, math.nan, (math.nan, math.nan), (), False)
    if not all(math.isfinite(entry.rate.slope) for entry in (first, second)):
        return nothing
    one, two = (entry.frame[np.isfinite(entry.frame["value"])] for entry in (first, second))
    single = not any(frame.duplicated(["n", "rep"]).any() for frame in (one, two))
    shared = one.merge(two, on=["n", "rep"], suffixes=("", "_two"))
    paired = single and len(shared) > 0 and bool((shared["data_crc"] == shared["data_crc_two"]).all())
    if paired:
        one, two = shared[["n", "value"]], shared[["n"]].assign(value=shared["value_two"])
    sizes = set(one["n"]) & set(two["n"])
    one, two = (frame[frame["n"].isin(sizes)] for frame in (one, two))

    def fitted(frame: pd.DataFrame, seed: int, start: int | None = None) -> Line | None:
        points, copies = summarise(frame, n_boot, np.random.default_rng(seed))
        means = log_means(points, statistic)
        if means.sizes.size < 2:
            return None
        return regress(means, np.stack([copies[int(n)][statistic] for n in means.sizes], axis=1), None, start)

    lines = [fitted(one, 0), fitted(two, 0 if paired else 1)]
    drop = max((line.dropped for line in lines if line), default=0)
    a, b = fitted(one, 0, drop), fitted(two, 0 if paired else 1, drop)
    if a is None or b is None or a.used != b.used:
        return nothing
    difference, copies = b.slope - a.slope, b.copies - a.copies
    freedom = min(line.means.from_(drop).freedom for line in (a, b))
    ci = slope_interval(difference, copies, level, freedom)
    return SlopeDifference(first, second, difference, float(copies.std()), ci, a.used, paired)
