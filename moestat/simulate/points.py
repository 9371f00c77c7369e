"""Summaries of the replicates at each n: centres with Monte-Carlo errors, failures, certificates, active bounds, cell patterns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .lines import CENTRES, Statistic, resampled, standard_error, trimmed

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["LogMeans", "RatePoint", "log_means", "select", "share_error", "summarise"]


def share_error(count: int, total: int) -> float:
    """Standard error of the share ``count / total``: the standard deviation of its posterior under Jeffreys' prior.

    Unlike ``sqrt(p (1-p) / total)`` it is not 0 when all or none were counted.

    Examples
    --------
    >>> round(share_error(10, 40), 3), round(share_error(40, 40), 3)
    (0.067, 0.017)
    """
    a, b = count + 0.5, total - count + 0.5
    return math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))


@dataclass(frozen=True)
class RatePoint:
    """Summary of one sample size; each centre has its Monte-Carlo standard error.

    Attributes
    ----------
    cells, failures, uncertified : int
        Cells; those without a value; those without a certificate (failures among them).
    active : float
        Share of cells with a parameter at a bound.
    patterns : tuple of (str, int)
        How often each pattern of Voronoi cells was seen, the most frequent first.
    """

    n: int
    cells: int
    failures: int
    uncertified: int
    active: float
    mean: float
    mean_se: float
    median: float
    median_se: float
    trimmed: float
    trimmed_se: float
    patterns: tuple[tuple[str, int], ...] = ()

    @property
    def certified(self) -> tuple[float, float]:
        """Share of certified cells and its standard error."""
        count = self.cells - self.uncertified
        return count / self.cells, share_error(count, self.cells)

    @property
    def at_bound(self) -> tuple[float, float]:
        """Share of cells with a parameter at a bound, and its standard error."""
        return self.active, share_error(round(self.active * self.cells), self.cells)


@dataclass(frozen=True)
class LogMeans:
    """Logarithms of a centre at each n, with what is needed to weight them; arrays ``(m,)``.

    ``own`` are squared coefficients of variation of single replicates, ``counts`` the numbers of replicates.
    """

    sizes: Array
    log: Array
    own: Array
    counts: Array

    @property
    def variance(self) -> Array:
        """Of each logarithm (the delta method); the squared coefficients are averaged with their mean over n, which steadies few replicates."""
        variance: Array = (0.25 * self.own + 0.75 * self.own.mean()) / self.counts
        return variance

    @property
    def freedom(self) -> float:
        """Replicates beyond the first, over all sizes."""
        return float((self.counts - 1).sum())

    def steadied(self, copies: Array) -> Array:
        """Logarithms of bootstrap copies ``(n_boot, m)`` with the steadied variance: replicates without an outlier would claim too much."""
        # a resampled centre is positive as long as the values are; guard the logarithm for few, tiny replicates
        logs = np.log(np.maximum(copies, 1e-300))
        return self.log + (logs - self.log) * np.sqrt(self.variance * self.counts / self.own)

    def from_(self, first: int) -> LogMeans:
        """Without the ``first`` smallest sizes, with the same variances."""
        keep = slice(first, None)
        own = self.variance[keep] * self.counts[keep]
        return LogMeans(self.sizes[keep], self.log[keep], own, self.counts[keep])


def select(frame: pd.DataFrame, loss: str | None, fit: str | None) -> pd.DataFrame:
    """The records of a loss and a fit.

    Raises
    ------
    ValueError
        If there are none.
    """
    chosen = frame
    if loss is not None and "loss" in chosen:
        chosen = chosen[chosen["loss"] == loss]
    if fit is not None and "fit" in chosen:
        chosen = chosen[chosen["fit"] == fit]
    if chosen.empty:
        raise ValueError(f"no records of loss {loss!r}" + (f" for fit {fit!r}" if fit else ""))
    return chosen


def summarise(
    frame: pd.DataFrame, n_boot: int, rng: np.random.Generator
) -> tuple[tuple[RatePoint, ...], dict[int, dict[Statistic, Array]]]:
    """Points of the records of one loss, and by n the bootstrap copies ``(n_boot,)`` of each centre.

    Sizes at which every cell failed have no point.
    """
    value, sizes = frame["value"].to_numpy(dtype=float), frame["n"].to_numpy(dtype=int)
    usable = np.isfinite(value)
    certified = usable & (frame["certified"].to_numpy(dtype=bool) if "certified" in frame else True)
    active = frame["active_bounds"].to_numpy() > 0 if "active_bounds" in frame else np.zeros(len(frame), dtype=bool)
    pattern = frame["pattern"].to_numpy() if "pattern" in frame else np.full(len(frame), "")
    points, copies = [], {}
    for n in sorted(set(sizes.tolist())):
        here = sizes == n
        good = value[here & usable]
        if good.size == 0:
            continue
        boot = {name: resampled(good, centre, n_boot, rng) for name, centre in CENTRES.items()}
        seen = Counter(text for text in pattern[here & usable].tolist() if text)
        points.append(
            RatePoint(
                n, int(here.sum()), int(here.sum()) - good.size, int((here & ~certified).sum()), float(active[here].mean()),
                mean=float(good.mean()), mean_se=standard_error(good),
                median=float(np.median(good)), median_se=float(boot["median"].std()),
                trimmed=float(trimmed(good, 0)), trimmed_se=float(boot["trimmed"].std()),
                patterns=tuple(sorted(seen.items(), key=lambda item: (-item[1], item[0]))),
            )
        )  # fmt: skip
        copies[n] = boot
    return tuple(points), copies


def log_means(points: Sequence[RatePoint], statistic: Statistic = "mean") -> LogMeans:
    """Logarithms of a centre at those sizes where it is positive and there are two replicates at least."""
    rows = [
        (p.n, getattr(p, statistic), getattr(p, f"{statistic}_se"), p.cells - p.failures)
        for p in points
        if p.cells - p.failures >= 2 and getattr(p, statistic) > 0
    ]
    n, centre, error, count = np.array(rows, dtype=float).reshape(-1, 4).T
    return LogMeans(n.astype(int), np.log(centre), np.maximum(error**2 * count / centre**2, 1e-24), count)
