"""Starting values of a cell: every split of the truth with its own box, or gates that cut x into equal cells."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement, pairwise
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..fitting import Start
    from .scenario import Box, Fit, MixtureTruth, Starts, UniformLaw

    Array = NDArray[np.float64]
    Params = dict[str, Array]

__all__ = ["box_around", "equal_cells", "perturbed_truth", "split_patterns", "split_truth"]


def split_patterns(n_experts: int, n_true: int) -> Iterator[tuple[int, ...]]:
    """All ways to give ``n_experts`` fitted atoms to ``n_true`` true ones, each at least one.

    Examples
    --------
    >>> list(split_patterns(3, 2))
    [(1, 2), (2, 1)]
    """
    for cuts in combinations(range(1, n_experts), n_true - 1):
        edges = (0, *cuts, n_experts)
        yield tuple(b - a for a, b in pairwise(edges))


def split_truth(truth: MixtureTruth, pattern: tuple[int, ...], degree: int) -> Params:
    """The true parameters with atom j repeated ``pattern[j]`` times; its weight is shared, the density unchanged.

    The gate is in the last-expert-zero gauge. A higher ``degree`` than the truth's adds zero coefficients.
    """
    params = {name: np.asarray(value, dtype=float) for name, value in truth.params.model_dump().items()}
    params["gate_intercept"] = params["gate_intercept"] - np.log(pattern)
    split = {name: np.repeat(value, pattern, axis=0) for name, value in params.items()}
    for name in ("gate_coef", "gate_intercept"):
        split[name] = split[name] - split[name][-1]
    n_features = params["gate_coef"].shape[1]
    missing = comb(n_features + degree, degree) - 1 - params["expert_coef"].shape[1]
    if missing < 0:
        raise ValueError(f"the truth has more expert coefficients than a fit of degree {degree}")
    split["expert_coef"] = np.pad(split["expert_coef"], ((0, 0), (0, missing)))
    return split


def box_around(centre: Params, box: Box) -> dict[str, tuple[Array, Array]]:
    """The compact parameter space: ``centre`` plus and minus the half-widths; the scale's bound is geometric."""
    bounds = {name: (centre[name] - getattr(box, name), centre[name] + getattr(box, name)) for name in centre
              if name != "expert_scale"}  # fmt: skip
    factor = np.exp(box.log_variance / 2)
    bounds["expert_scale"] = (centre["expert_scale"] / factor, centre["expert_scale"] * factor)
    return bounds


def perturbed_truth(
    truth: MixtureTruth, fit: Fit, n_experts: int, starts: Starts, rng: np.random.Generator
) -> list[Start]:
    """Starts around every split of the truth.

    Each raw parameter moves by ``radius`` times a standard normal (the logarithm of the scale by half of that), and
    is then clipped into the split's box.
    """
    from ..fitting import Start

    result = []
    for pattern in split_patterns(n_experts, truth.n_experts):
        centre = split_truth(truth, pattern, fit.degree)
        if fit.gate == "constant":
            centre["gate_coef"] = np.zeros_like(centre["gate_coef"])
        box = None if fit.box is None else box_around(centre, fit.box)
        for radius in starts.radii:
            for _ in range(starts.per_radius):
                moved = {name: value + radius * rng.standard_normal(value.shape) for name, value in centre.items()
                         if name != "expert_scale"}  # fmt: skip
                noise = rng.standard_normal(n_experts)
                moved["expert_scale"] = centre["expert_scale"] * np.exp(0.5 * radius * noise)
                for name in ("gate_coef", "gate_intercept"):
                    moved[name] = moved[name] - moved[name][-1]
                if fit.gate == "constant":
                    moved["gate_coef"] = np.zeros_like(moved["gate_coef"])
                if isinstance(fit.variance, float):
                    moved["expert_scale"] = np.full(n_experts, fit.variance)
                if box is not None:
                    moved = {name: np.clip(value, *box[name]) for name, value in moved.items()}
                result.append(Start(moved, box=box))
    return result


def _monomials(X: Array, degree: int) -> Array:
    columns = [np.ones(len(X))]
    for order in range(1, degree + 1):
        columns += [np.prod(X[:, list(which)], axis=1)
                    for which in combinations_with_replacement(range(X.shape[1]), order)]  # fmt: skip
    return np.stack(columns, axis=1)


def equal_cells(
    X: Array, y: Array, law: UniformLaw, fit: Fit, n_experts: int, starts: Starts, rng: np.random.Generator
) -> list[Start]:
    """Starts whose gates cut the first column's range into ``m`` cells (THEORY E).

    Scores grow from cell to cell by ``lam (u - e_j)`` with ``u`` in [0, 1] and edges ``e_j`` near ``j/m``, where
    ``lam = steepness * m``; each expert is the least-squares polynomial weighted by its gate.
    """
    from ..fitting import Start

    m, low, width = n_experts, law.low[0], law.high[0] - law.low[0]
    design = _monomials(X, fit.degree)
    result = []
    for steepness in starts.steepness:
        for repeat in range(starts.per_radius):
            edges = np.arange(1, m) / m
            if repeat:  # the first repeat keeps equal cells, the others move the edges
                edges = np.sort(edges + 0.25 / m * rng.standard_normal(m - 1))
            lam = steepness * m
            coef = np.zeros((m, X.shape[1]))
            coef[:, 0] = lam * np.arange(m) / width
            intercept = -lam * np.concatenate([[0.0], np.cumsum(edges)]) - coef[:, 0] * low
            coef, intercept = coef - coef[-1], intercept - intercept[-1]
            weight = softmax(X @ coef.T + intercept, axis=1) if fit.gate == "softmax" else np.full((len(X), m), 1 / m)
            beta, sd = np.empty((m, design.shape[1])), np.empty(m)
            for j in range(m):
                root = np.sqrt(weight[:, j])
                beta[j] = np.linalg.lstsq(design * root[:, None], y * root, rcond=1e-8)[0]
                sd[j] = np.sqrt(np.average((y - design @ beta[j]) ** 2, weights=weight[:, j] + 1e-12))
            if isinstance(fit.variance, float):
                sd = np.full(m, fit.variance)
            params = {
                "gate_coef": coef, "gate_intercept": intercept,
                "expert_coef": beta[:, 1:], "expert_intercept": beta[:, 0], "expert_scale": np.maximum(sd, 1e-3 * y.std()),
            }  # fmt: skip
            result.append(Start(params))
    return result
