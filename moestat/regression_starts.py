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
    phi = objective.rows.block(0, objective.rows.n).expert_features
    pool = list(starts)
    for theta in starts:
        params = layout.unpack(theta)
        for _ in range(TRIALS):
            coef = random_ridges(layout, phi, rng)
            pool.append(objective.clip(layout.pack(params._replace(coef=coef))))
    states = [short_run(LM(), objective, theta, STEPS) for theta in pool]
    values = np.array([state.value if np.isfinite(state.value) else -np.inf for state in states])
    best = np.argsort(-values, kind="stable")[: len(starts)]
    return [states[i].theta for i in best]


def random_ridges(layout: Layout, phi: Array, rng: np.random.Generator) -> Array:
    """Coefficients `(K, 1, q)` of predictors with a random direction in the features `(q, n)`, standardised, then with a slope of
    about one and a threshold of up to a few standard deviations."""
    deviation = phi[1:].std(axis=1)
    direction = rng.normal(size=(layout.n_experts, len(deviation))) / np.where(deviation > 0.0, deviation, 1.0)
    along = direction @ phi[1:]
    spread = along.std(axis=1)
    slope = rng.choice([-1.0, 1.0], layout.n_experts) * np.exp(0.7 * rng.normal(size=layout.n_experts))
    steep = slope / np.where(spread > 0.0, spread, 1.0)
    threshold = steep * along.mean(axis=1) + slope * rng.normal(size=layout.n_experts)
    return np.column_stack([-threshold, steep[:, None] * direction])[:, None]
