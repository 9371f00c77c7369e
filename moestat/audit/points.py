"""The points at which an audit compares functions: rows of x, and responses there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat.audit.atoms import one_expert
from moestat.distributions import Empirical, Law, Uniform
from moestat.mixture import ConditionalMixture

Array = NDArray[np.float64]

N_POINTS = 300  # at least; and two a function whose independence is in question
N_GAUSSIAN = 8000  # rows that stand for the law of x of a Gaussian gate


def law_of(model: ConditionalMixture, x: Law | ArrayLike | None) -> Law:
    """The law of x that is given, or that suits the model.

    Raises
    ------
    ValueError
        If it has another number of features.
    """
    d = model.n_features
    if x is None:
        if model.gate.joint:
            return Empirical(_gaussian_rows(model))
        return Uniform(-np.ones(d), np.ones(d)) if d else Empirical(np.zeros((1, 0)))
    given: Any = x
    law: Law = given if hasattr(given, "sample") else Empirical(given)
    if law.n_features != d:
        raise ValueError(f"x has {law.n_features} features; the model has {d}.")
    return law


def _gaussian_rows(model: ConditionalMixture) -> Array:
    """Rows from a Gaussian gate's own law of x; columns that the gate does not use are uniform."""
    rng = np.random.default_rng(0)
    params = model.params
    label = rng.choice(model.n_experts, size=N_GAUSSIAN, p=params["gate_weight"])
    root = np.linalg.cholesky(params["gate_covariance"])[label]
    noise = rng.standard_normal((N_GAUSSIAN, root.shape[1]))
    rows = rng.uniform(-1.0, 1.0, (N_GAUSSIAN, model.n_features))
    rows[:, list(model.gate_map.columns)] = params["gate_location"][label] + np.einsum("nij,nj->ni", root, noise)
    return rows


def responses(model: ConditionalMixture, X: Array, rng: np.random.Generator) -> Array:
    """Draws from the model, as it reads them."""
    return _read(model, np.asarray(model.sample(X, rng), dtype=float))


def points_of(
    model: ConditionalMixture, k: int, law: Law, n: int, rng: np.random.Generator
) -> tuple[Array, Array | None]:
    """Rows of x, and responses `(n, D)` of expert k there; none of a regression function."""
    X = law.sample(n, rng)
    if hasattr(model, "noise_std"):
        return X, None
    eta = model.expert.predictors(one_expert(model, k)[0], model.expert_map.raw_map().features(X))[:, 0]
    y = model.expert.sample_rows(eta, model.internal.scale, np.full(n, k), rng).T
    return X, _read(model, y)


def _read(model: ConditionalMixture, y: Array) -> Array:
    """Responses, as intervals with two equal ends where the model reads intervals."""
    by_intervals = getattr(model.expert, "intervals", False) and (y.ndim == 1 or y.shape[1] == 1)
    return np.column_stack([y, y]) if by_intervals else y
