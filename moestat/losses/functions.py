"""Distances of expert functions, for experts whose parameters cannot be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from moestat.distributions import Empirical, Law
from moestat.divergences.expectation import expect
from moestat.losses.blocks import Array, Index
from moestat.losses.voronoi import VoronoiCells, nearest

_X_TOLERANCE = 1e-8
# Draws that tell the size of an integrand, so that small and large ones are found with the same relative error.
_PILOT = 256
# Panels in x are split where a gate moves by more than this between two points of a grid.
_GRID, _JUMP = 2001, 0.05


class ExpertFunctions(Protocol):
    """What is asked of a mixture; a `ConditionalMixture` has it."""

    def expert_mean(self, X: ArrayLike) -> Array:
        """Means of the experts (n,K), or (n,K,D) of several responses."""

    def gate_proba(self, X: ArrayLike) -> Array:
        """Their weights at x (n,K)."""


@dataclass(frozen=True, eq=False)
class FunctionLoss:
    r"""Distances of expert functions, with ``‖.‖`` that of L2(μ), μ the law of x; ``float(result)`` is the value.

    Attributes
    ----------
    value, error : float
        The sum of the three pieces over the true experts, and a bound on its numerical error.
    experts : ndarray (k*,)
        ``Σ_i E π_i(X) ‖h_i - h*_j‖`` over the experts of the cell.
    gates : ndarray (k*,)
        ``‖Σ_i π_i - π*_j‖``.
    weighted : ndarray (k*,)
        ``‖Σ_i π_i h_i - π*_j h*_j‖``.
    distances : ndarray (k,k*)
        ``‖h_i - h*_j‖`` of all pairs.
    cells : VoronoiCells
        Which experts of the estimate stand for which of the truth.
    """

    value: float
    error: float
    experts: Array
    gates: Array
    weighted: Array
    distances: Array
    cells: VoronoiCells

    @property
    def terms(self) -> Mapping[str, float]:
        """The three pieces, summed over the true experts."""
        return {name: float(getattr(self, name).sum()) for name in ("experts", "gates", "weighted")}

    def __float__(self) -> float:
        return self.value


def expert_function_loss(
    estimate: ExpertFunctions | Any,
    truth: ExpertFunctions | Any,
    x: Law | ArrayLike,
    *,
    match: str = "voronoi",
    rng: np.random.Generator | None = None,
) -> FunctionLoss:
    r"""Distance in L2(μ) between the expert functions and the gates of two mixtures, whatever their parameters are.

    For experts that are neural networks or have other parameters of which several say the same. Each expert of the estimate
    stands for the expert of the truth whose mean function is nearest (Voronoi cells of functions), or is matched with one. The
    pieces of a cell that an over-specified fit estimates fast are ``gates`` and ``weighted``, which add its experts up.

    Parameters
    ----------
    estimate, truth : ConditionalMixture or alike, or a fitted estimator (its ``model_`` is taken)
        With ``expert_mean(X)`` and ``gate_proba(X)``.
    x : Uniform, Normal, Empirical or array_like (n,d)
        Law of x, or a sample of it.
    match : {"voronoi", "hungarian"}
        ``"hungarian"``: the one-to-one matching with the least sum of ``E π_i ‖h_i - h*_j‖``; for k = k* only.
    rng : numpy.random.Generator, optional
        For laws of more than one feature; a fixed source by default.

    Raises
    ------
    ValueError
        If ``match`` is unknown, or the numbers of experts do not suit it.

    Examples
    --------
    >>> from moestat.distributions import Uniform
    >>> from moestat.divergences import RegressionTruth
    >>> line, shifted = RegressionTruth(lambda X: X[:, 0], 1.0), RegressionTruth(lambda X: X[:, 0] + 0.1, 1.0)
    >>> found = expert_function_loss(shifted, line, Uniform(0.0, 1.0))
    >>> found.experts.round(6), found.gates, found.weighted.round(6)
    (array([0.1]), array([0.]), array([0.1]))
    """
    if match not in ("voronoi", "hungarian"):
        raise ValueError(f"match must be 'voronoi' or 'hungarian', got {match!r}.")
    law = _law(x)
    fitted, true = (getattr(given, "model_", given) for given in (estimate, truth))

    def pairs(rows: Array) -> Array:
        left, right = _means(fitted, rows), _means(true, rows)
        squares = ((left[:, :, None] - right[:, None]) ** 2).sum(axis=-1)
        return np.concatenate([squares.reshape(rows.shape[0], -1), fitted.gate_proba(rows)], axis=1)

    breaks = _breaks(law, fitted, true)
    first, first_error = _expectations(pairs, law, breaks, rng)
    k = fitted.gate_proba(_pilot(law)[:1]).shape[1]
    share, share_error = first[-k:], first_error[-k:]
    distances, distance_error = (part.reshape(k, -1) for part in _roots(first[:-k], first_error[:-k]))
    assignment = _assign(distances, share, match)
    member = (assignment[:, None] == np.arange(distances.shape[1])).astype(np.float64)

    def cells(rows: Array) -> Array:
        gate, own = fitted.gate_proba(rows), true.gate_proba(rows)
        gates = (gate @ member - own) ** 2
        joined = np.einsum("qi,qid,ij->qjd", gate, _means(fitted, rows), member)
        return np.concatenate([gates, ((joined - own[:, :, None] * _means(true, rows)) ** 2).sum(axis=-1)], axis=1)

    (gates, weighted), errors = (np.split(part, 2) for part in _roots(*_expectations(cells, law, breaks, rng)))
    atoms = np.arange(k)
    near, near_error = distances[atoms, assignment], distance_error[atoms, assignment]
    experts = (share * near) @ member
    error = share @ near_error + share_error @ near + sum(part.sum() for part in errors)
    return FunctionLoss(
        value=float(experts.sum() + gates.sum() + weighted.sum()),
        error=float(error),
        experts=experts,
        gates=gates,
        weighted=weighted,
        distances=distances,
        cells=VoronoiCells(assignment, distances.shape[1], _tied(distances)),
    )


def _law(x: Any) -> Law:
    law: Law = x if hasattr(x, "n_features") else Empirical(x)
    return law


def _means(mixture: ExpertFunctions, rows: Array) -> Array:
    """Means (q,K,D), D = 1 for one response."""
    means = np.asarray(mixture.expert_mean(rows), dtype=np.float64)
    return means[:, :, None] if means.ndim == 2 else means


def _assign(distances: Array, share: Array, match: str) -> Index:
    if match == "voronoi":
        return nearest(distances**2)
    if distances.shape[0] != distances.shape[1]:
        raise ValueError(
            f"a matching needs equal numbers of experts, got {distances.shape[0]} and {distances.shape[1]}."
        )
    return np.asarray(linear_sum_assignment(share[:, None] * distances)[1], dtype=np.int64)


def _tied(distances: Array) -> bool:
    ordered = np.sort(distances, axis=1)
    return bool(distances.shape[1] > 1 and np.any(ordered[:, 1] - ordered[:, 0] < 1e-12))


def _pilot(law: Law) -> Array:
    return law.X if isinstance(law, Empirical) else law.sample(_PILOT, np.random.default_rng(0))


def _expectations(
    f: Callable[[Array], Array], law: Law, breaks: Array, rng: np.random.Generator | None
) -> tuple[Array, Array]:
    """Expectations (M,) of non-negative integrands and their errors, each relative to its own size."""
    size = f(_pilot(law)).mean(axis=0)
    size = np.where(size > 0.0, size, 1.0)
    found = expect(lambda rows: f(rows) / size, law, breaks=breaks, rtol=_X_TOLERANCE, rng=rng)
    return found.value * size, found.error * size


def _roots(value: Array, error: Array) -> tuple[Array, Array]:
    root = np.sqrt(np.maximum(value, 0.0))
    return root, np.sqrt(np.maximum(value, 0.0) + error) - root


def _breaks(law: Any, *mixtures: ExpertFunctions) -> Array:
    """For one feature, the middles of the steps of a grid on which a gate moves."""
    if law.n_features > 1 or not hasattr(law, "interval"):
        return np.zeros(0)
    low, high = law.interval()
    grid = np.linspace(low, high, _GRID)
    moved = [np.abs(np.diff(mixture.gate_proba(grid[:, None]), axis=0)).max(axis=1) for mixture in mixtures]
    middles: Array = 0.5 * (grid[1:] + grid[:-1])[np.max(moved, axis=0) > _JUMP]
    return middles
