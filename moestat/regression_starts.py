"""Starts of nonlinear experts: besides those of partitions, ridge functions in random directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moestat.layout import Layout
from moestat.objective import Objective
from moestat.solvers.base import short_run
from moestat.solvers.lm import LM

Array = NDArray[np.float64]

TRIALS = 4  # random ones for each start
STEPS = 6  # of Levenberg–Marquardt, by which all are compared


def scattered(objective: Objective, starts: list[Array], rng: np.random.Generator) -> list[Array]:
    """As many starts as there are, the best after a few steps among these and some with their gates and random experts."""
    layout = objective.layout
    rows = objective.rows
    phi = rows.block(0, rows.n).expert_features
    share = rows.weight / rows.weight.sum() if rows.weight.size else np.full(rows.n, 1.0 / rows.n)
    pool = list(starts)
    for theta in starts:
        params = layout.unpack(theta)
        for _ in range(TRIALS):
            coef = random_ridges(layout, phi, share, rng)
            pool.append(objective.clip(layout.pack(params._replace(coef=coef))))
    states = [short_run(LM(), objective, theta, STEPS) for theta in pool]
    values = np.array([state.value if np.isfinite(state.value) else -np.inf for state in states])
    best = np.argsort(-values, kind="stable")[: len(starts)]
    return [states[i].theta for i in best]


def random_ridges(layout: Layout, phi: Array, share: Array, rng: np.random.Generator) -> Array:
    """Coefficients `(K, 1, q)` of predictors in random directions of the features `(q, n)`, with slopes of about one and thresholds
    of up to a few standard deviations; `share (n,)` are the rows' shares of the weight."""
    k = layout.n_experts
    _, unit = _moments(phi[1:], share)
    direction = rng.normal(size=(k, len(unit))) / unit
    mean, spread = _moments(direction @ phi[1:], share)
    slope = rng.choice([-1.0, 1.0], k) * np.exp(0.7 * rng.normal(size=k))
    steep = slope / spread
    return np.column_stack([slope * rng.normal(size=k) - steep * mean, steep[:, None] * direction])[:, None]


def _moments(values: Array, share: Array) -> tuple[Array, Array]:
    """Weighted means and standard deviations of rows; one in the place of a zero deviation."""
    mean = values @ share
    deviation = np.sqrt((values - mean[:, None]) ** 2 @ share)
    return mean, np.where(deviation > 0.0, deviation, 1.0)
