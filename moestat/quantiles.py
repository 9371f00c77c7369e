"""Quantiles of mixtures, all rows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from moestat.experts.base import BaseExpert

Array = NDArray[np.float64]


def gaussian_quantile(proba: Array, mean: Array, sd: Array, level: float) -> Array:
    """Quantile of `Σ_k proba_k N(mean_k, sd_k²)` for each row, `(n,)`.

    The root lies between the smallest and the largest quantile of the components that have weight; Newton steps that
    leave the bracket are replaced by bisection, so that it converges for flat and multimodal mixtures too.
    """
    from scipy.special import ndtr, ndtri

    candidates = mean + sd * ndtri(level)
    live = proba > 0.0
    low = np.where(live, candidates, np.inf).min(axis=1)
    high = np.where(live, candidates, -np.inf).max(axis=1)
    x = np.einsum("nk,nk->n", proba, candidates)
    root_2pi = 2.5066282746310002
    upper = level > 0.5  # work with the smaller tail, for relative accuracy far out
    target = 1.0 - level if upper else level
    for _ in range(200):
        z = (x[:, None] - mean) / sd
        tail = np.einsum("nk,nk->n", proba, ndtr(-z if upper else z))
        excess = (target - tail) if upper else (tail - target)
        low, high = np.where(excess < 0.0, x, low), np.where(excess > 0.0, x, high)
        density = np.einsum("nk,nk->n", proba, np.exp(-0.5 * np.minimum(z * z, 1400.0)) / (sd * root_2pi))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = x - excess / density
        inside = (step > low) & (step < high)
        new = np.where(excess == 0.0, x, np.where(inside, step, 0.5 * low + 0.5 * high))
        done = np.abs(new - x) <= 4e-16 * np.maximum(np.abs(new), np.abs(x)) + 1e-300
        x = new
        if done.all():
            break
    return np.asarray(x)


def formula_quantile(expert: BaseExpert, proba: Array, eta: Array, extra: Array, level: float) -> Array:
    """Quantile of `Σ_k proba_k F_k` for each row, `(n,)`, from the experts' own quantiles and distribution functions.

    `proba (K, n)`, `eta (d, K, n)`. Bisection between the smallest and the largest quantile of the experts that have weight; over
    integers for counts.
    """
    candidates = expert.quantile(level, eta, extra)
    live = proba > 0.0
    low = np.where(live, candidates, np.inf).min(axis=0)
    high = np.where(live, candidates, -np.inf).max(axis=0)
    if expert.discrete:  # the answer is in (low, high]
        low = low - 1.0
    for _ in range(200):
        gap = high - low
        done = gap <= (1.0 if expert.discrete else 4e-16 * np.maximum(np.abs(low), np.abs(high)) + 1e-300)
        if done.all():
            break
        middle = np.floor(low + 0.5 * gap) if expert.discrete else low + 0.5 * gap
        reached = np.where(live, proba * expert.cdf(middle[None], eta, extra), 0.0).sum(axis=0) >= level * (1.0 - 1e-15)
        low, high = np.where(done | reached, low, middle), np.where(done | ~reached, high, middle)
    return np.asarray(high)
