"""Quantiles of Gaussian mixtures, row by row at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mixture_quantile(proba: Array, mean: Array, sd: Array, level: float, normal_quantile: float) -> Array:
    """Quantile of `Σ_k proba_k N(mean_k, sd_k²)` for each row, `(n,)`.

    The root lies between the smallest and the largest quantile of the components that have weight; Newton steps that
    leave the bracket are replaced by bisection, so that it converges for flat and multimodal mixtures too.
    """
    from scipy.special import ndtr

    candidates = mean + sd * normal_quantile
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
