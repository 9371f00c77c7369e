"""Starting values of a cell: every split of the truth with its own box, or gates that cut x into equal cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, combinations_with_replacement, pairwise
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit, softmax

from .models import build_mixture, expert_of, gate_of
from .parts import MixtureTruth, UniformLaw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..fitting import Start
    from .parts import Fit
    from .scenario import Scenario

    Array = NDArray[np.float64]

Params = dict[str, Any]

__all__ = ["box_around", "cells_by_column", "equal_cells", "perturbed_truth", "split_patterns", "split_truth"]

# Gates whose weights have a factor exp(intercept / temperature), and those whose weights are sigmoids.
_SHARED_BY_INTERCEPT = {
    "softmax", "constant", "quadratic", "quadratic_monomial", "laplace", "cosine", "perturbed_cosine", "activation", "topk",
}  # fmt: skip
_SIGMOID = {"sigmoid", "normalized_sigmoid"}


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


def split_truth(
    truth: MixtureTruth, pattern: tuple[int, ...], degree: int | None = None, n_features: int = 1
) -> Params:
    """The true parameters with atom j repeated ``pattern[j]`` times; its weight is shared, the density unchanged.

    Weights of a sigmoid gate are shared at x = 0, which keeps the density where the slopes of the split atoms are zero. A higher ``degree``
    than the truth's adds zero coefficients.

    Raises
    ------
    ValueError
        If the gate has no weights that could be shared in this way: give the fit its ``centres``.
    """
    params = {name: np.asarray(value, dtype=float) for name, value in truth.params.items()}
    missing = 0 if degree is None else comb(n_features + degree, degree) - comb(n_features + truth.degree, truth.degree)
    if missing < 0:
        raise ValueError(f"the truth has more expert coefficients than a fit of degree {degree}")
    if missing:
        coef = params["expert_coef"]
        params["expert_coef"] = np.pad(coef, [(0, 0)] * (coef.ndim - 1) + [(0, missing)])
    if set(pattern) == {1}:
        return params
    name = truth.gate if isinstance(truth.gate, str) else truth.gate.name
    if name not in _SHARED_BY_INTERCEPT | _SIGMOID | {"gaussian"}:
        raise ValueError(f"experts under gate={name!r} cannot be split by rule; give the fit its centres")
    split = {key: np.repeat(value, pattern, axis=0) if value.ndim else value for key, value in params.items()}
    share = np.repeat(np.asarray(pattern, dtype=float), pattern)
    if name == "gaussian":
        split["gate_weight"] = split["gate_weight"] / share
    elif name in _SIGMOID:
        split["gate_intercept"] = logit(expit(split["gate_intercept"]) / share)
    else:
        options = {} if isinstance(truth.gate, str) else dict(truth.gate.model_extra or {})
        temperature = float(params.get("gate_temperature", options.get("temperature", 1.0)))
        intercept = split.get("gate_intercept", np.zeros(len(share)))
        split["gate_intercept"] = intercept - temperature * np.log(share)
    return split


def box_around(centre: Any, half_widths: Mapping[str, float | Sequence[float]]) -> dict[str, tuple[Array, Array]]:
    """The compact parameter space around a mixture: half-widths by name, of positive numbers in their logarithms.

    ``gate_intercept`` and ``gate_coef`` are the first and the other columns of the gate's coefficients (of a Laplace gate, intercept and
    location); ``log_variance`` is that of Gaussian experts.
    """
    raw, layout = centre._raw_parameters, centre._raw_layout
    gate = {"gate_intercept": raw.gate[:, 0], "gate_coef": raw.gate[:, 1:]}
    links = {
        key: item[0][0][1] for key, item in layout.expert.box_scalars(layout.n_predictors, centre.vector_y).items()
    }
    values, out = gate | centre.params, {}
    for name, given in half_widths.items():
        key = "expert_scale" if name == "log_variance" else name
        value = np.asarray(gate.get(key, values[key]), dtype=float)
        width = np.asarray(given, dtype=float) / (2.0 if name == "log_variance" else 1.0)
        width = width.reshape(width.shape + (1,) * (value.ndim - 1)) if width.ndim else width
        link = links.get(key, "identity")
        if link == "log":
            out[key] = (value * np.exp(-width), value * np.exp(width))
        elif link == "logit":
            out[key] = (expit(logit(value) - width), expit(logit(value) + width))
        else:
            out[key] = (value - width, value + width)
    return out


def perturbed_truth(scenario: Scenario, fit: Fit, n_experts: int, rng: np.random.Generator, n: int = 1) -> list[Start]:
    """Starts around every split of the truth, or around the centres of the fit.

    Each free raw parameter moves by ``radius n^power`` times a standard normal (logarithms of scales and alike by half of that), and is then
    clipped into the centre's own box.
    """
    from ..box import box_bounds
    from ..fitting import Start

    truth, starts = scenario.truth, scenario.starts_of(fit)
    assert isinstance(truth, MixtureTruth)
    gate, expert = gate_of(scenario, fit), expert_of(scenario, fit)
    result = []
    for params in fit.centres or _splits(truth, fit, n_experts, scenario.x.n_features):
        known = {"expert_scale": np.full(n_experts, fit.variance)} if isinstance(fit.variance, float) else {}
        kept = {key: value for key, value in (params | known).items() if key in {*gate.keys, *expert.keys}}
        if getattr(gate, "equal", False):
            kept.pop("gate_intercept", None)
        centre = build_mixture(truth, gate, expert, kept, scenario)
        theta, layout = centre.free_vector(), centre._raw_layout
        unit = np.array([1.0 if link == "identity" else 0.5 for link in centre.free_links()])
        box = None if fit.box is None else box_around(centre, fit.box)
        low, high = np.full(theta.size, -np.inf), np.full(theta.size, np.inf)
        if box is not None:
            low, high = (layout.pack(side) for side in box_bounds(layout, box, centre.vector_y))
        for radius in starts.radii:
            for _ in range(starts.per_radius):
                moved = theta + radius * n**starts.power * unit * rng.standard_normal(theta.size)
                result.append(Start(centre.with_free_vector(np.clip(moved, low, high)).params, box=box))
    return result


def _splits(truth: MixtureTruth, fit: Fit, n_experts: int, n_features: int) -> list[Params]:
    """The truth split in all ways."""
    return [
        split_truth(truth, pattern, fit.degree, n_features) for pattern in split_patterns(n_experts, truth.n_experts)
    ]


def _monomials(X: Array, degree: int) -> Array:
    columns = [np.ones(len(X))]
    for order in range(1, degree + 1):
        columns += [np.prod(X[:, list(which)], axis=1)
                    for which in combinations_with_replacement(range(X.shape[1]), order)]  # fmt: skip
    return np.stack(columns, axis=1)


def cells_by_column(n_experts: int, n_columns: int) -> tuple[int, ...]:
    """Numbers of cells along each column, as equal as their product ``n_experts`` allows.

    Examples
    --------
    >>> cells_by_column(12, 1), cells_by_column(12, 2), cells_by_column(8, 3), cells_by_column(7, 2)
    ((12,), (4, 3), (2, 2, 2), (7, 1))
    """
    if n_columns == 1:
        return (n_experts,)
    root = n_experts ** (1.0 / n_columns)
    last = max(k for k in range(1, int(root + 1e-9) + 1) if n_experts % k == 0)
    return (*cells_by_column(n_experts // last, n_columns - 1), last)


def equal_cells(
    X: Array, y: Array, scenario: Scenario, fit: Fit, n_experts: int, rng: np.random.Generator
) -> list[Start]:
    """Starts whose gates cut the box of x into a grid of equal cells (THEORY E).

    Along a column with ``m`` cells, scores grow from cell to cell by ``lam (u - e_j)`` with ``u`` in [0, 1] and edges ``e_j`` near
    ``j/m``, where ``lam = steepness * m``; each expert is the least-squares polynomial weighted by its gate.
    """
    from ..fitting import Start

    law, starts, gate = scenario.x, scenario.starts_of(fit), gate_of(scenario, fit)
    assert isinstance(law, UniformLaw)
    counts = cells_by_column(n_experts, law.n_features)
    place = np.array(np.unravel_index(np.arange(n_experts), counts))
    design = _monomials(X, fit.degree)
    result = []
    for steepness in starts.steepness:
        for repeat in range(starts.per_radius):
            coef, intercept = np.zeros((n_experts, len(counts))), np.zeros(n_experts)
            for column, m in enumerate(counts):
                edges, lam = np.arange(1, m) / m, steepness * m
                if repeat:  # the first repeat keeps equal cells, the others move the edges
                    edges = np.sort(edges + 0.25 / m * rng.standard_normal(m - 1))
                slope = lam * np.arange(m) / (law.high[column] - law.low[column])
                height = -lam * np.concatenate([[0.0], np.cumsum(edges)]) - slope * law.low[column]
                coef[:, column] = slope[place[column]]
                intercept += height[place[column]]
            coef, intercept = coef - coef[-1], intercept - intercept[-1]
            scores = X @ coef.T + intercept
            weight = softmax(scores, axis=1) if gate.degree else np.full(scores.shape, 1 / n_experts)
            beta, sd = np.empty((n_experts, design.shape[1])), np.empty(n_experts)
            for j in range(n_experts):
                root = np.sqrt(weight[:, j])
                beta[j] = np.linalg.lstsq(design * root[:, None], y * root, rcond=1e-8)[0]
                sd[j] = np.sqrt(np.average((y - design @ beta[j]) ** 2, weights=weight[:, j] + 1e-12))
            if isinstance(fit.variance, float):
                sd = np.full(n_experts, fit.variance)
            params = {
                "gate_coef": coef, "gate_intercept": intercept,
                "expert_coef": beta[:, 1:], "expert_intercept": beta[:, 0], "expert_scale": np.maximum(sd, 1e-3 * y.std()),
            }  # fmt: skip
            result.append(Start(params))
    return result
