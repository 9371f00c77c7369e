"""Statistics behind a rate: centres over replicates, their bootstrap copies, the weighted line and its lack of fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Statistic = Literal["mean", "median", "trimmed"]


def trimmed(values: Array, axis: int) -> Array:
    result: Array = stats.trim_mean(values, 0.1, axis=axis)
    return result


CENTRES: dict[Statistic, Callable[[Array, int], Array]] = {
    "mean": lambda values, axis: np.mean(values, axis=axis),
    "median": lambda values, axis: np.median(values, axis=axis),
    "trimmed": trimmed,
}


def resampled(values: Array, centre: Callable[[Array, int], Array], n_boot: int, rng: np.random.Generator) -> Array:
    """Bootstrap copies of a centre, (n_boot,); their spread is widened by sqrt(R / (R-1)) to be unbiased."""
    drawn = centre(values[rng.integers(values.size, size=(n_boot, values.size))], 1)
    here = float(centre(values, 0))
    return here + (drawn - here) * math.sqrt(values.size / max(values.size - 1, 1))


def line(x: Array, y: Array, weight: Array) -> tuple[Array, Array]:
    """Weighted least squares of the last axis of y on x: slope and intercept."""
    total = weight.sum()
    x0 = (weight * x).sum() / total
    y0 = (weight * y).sum(axis=-1) / total
    slope = (weight * (x - x0) * (y - np.expand_dims(y0, -1))).sum(axis=-1) / (weight * (x - x0) ** 2).sum()
    return slope, y0 - slope * x0


def lack_of_fit_test(x: Array, y: Array, variance: Array, freedom: float) -> float:
    if x.size < 3:
        return float("nan")
    slope, intercept = line(x, y, 1 / variance)
    q = float((((y - intercept - slope * x) ** 2) / variance).sum()) / (x.size - 2)
    return float(stats.f.sf(q, x.size - 2, freedom))


def standard_error(values: Array) -> float:
    return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan


def slope_interval(slope: float, copies: Array, level: float, freedom: float) -> tuple[float, float]:
    """Percentile interval, widened from normal to Student quantiles when replicates are few."""
    tail = (1 - level) / 2
    low, high = np.quantile(copies, [tail, 1 - tail])
    widen = float(stats.t.ppf(1 - tail, max(freedom, 1.0)) / stats.norm.ppf(1 - tail))
    return float(slope + widen * (low - slope)), float(slope + widen * (high - slope))
