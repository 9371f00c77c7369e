r"""The order r̄(m) of the polynomial systems that govern over-specified Gaussian experts, stated and measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Array = NDArray[np.float64]

# Residuals at a solvable order reach rounding; at the first unsolvable one they stay above 1e-4 for m <= 4.
_SOLVED = 1e-10
# Weights are kept above this share: the systems ask for weights that are all different from zero.
_SMALLEST_WEIGHT = 1e-3


def rbar(m: int) -> int:
    r"""The order r̄(m) for ``m`` fitted atoms in one Voronoi cell: 1 if m = 1, else 2m.

    r̄(m) is the smallest r for which the system (Ho and Nguyen, 2016)
    ``Σ_{i<=m} w_i Σ_{n1 + 2 n2 = l} s_i^{n1} v_i^{n2} / (n1! n2!) = 0`` for ``l = 1..r`` has no solution with all
    ``w_i > 0`` and some ``s_i ≠ 0``. Gauss-Hermite nodes solve the orders up to 2m - 1; a solution of order 2m would give a
    combination of m + 1 Gaussian densities with more than 2m zeros. By convention r̄(1) = 1: an exactly fitted atom enters
    the loss with its first power.

    Raises
    ------
    ValueError
        If ``m`` is less than 1.

    Examples
    --------
    >>> [rbar(m) for m in (1, 2, 3, 4)]
    [1, 4, 6, 8]
    """
    if m < 1:
        raise ValueError(f"a cell holds at least one atom, got m = {m}.")
    return 1 if m == 1 else 2 * m


def rbar_residual(m: int, r: int, *, rng: np.random.Generator | None = None, n_starts: int = 20) -> float:
    r"""Smallest norm of the left-hand sides of orders 1..r found over ``m`` atoms scaled to ``Σ w_i s_i² = 1``.

    The scale removes the trivial solution and the invariance ``(s, v) -> (c s, c² v)``; the weights sum to one. Local
    searches start at random points and at the Gauss-Hermite nodes.

    Parameters
    ----------
    m, r : int
        Number of atoms (at least 2) and highest order.
    rng : numpy.random.Generator, optional
        Source of the starting points; a fixed one by default.
    n_starts : int
        Number of random starting points.

    Raises
    ------
    ValueError
        If ``m`` is less than 2 or ``r`` less than 1.
    """
    if m < 2 or r < 1:
        raise ValueError(f"the system is searched for m >= 2 atoms and r >= 1 orders, got m = {m}, r = {r}.")
    source = np.random.default_rng(0) if rng is None else rng

    def residuals(theta: Array) -> Array:
        weights, s, v = _unpack(theta, m)
        return _left_hand_sides(weights, s, v, r)

    starts = [_gauss_hermite_start(m)]
    starts += [
        np.concatenate([source.normal(size=m), source.normal(size=m), source.normal(-0.5, 0.5, size=m)])
        for _ in range(n_starts)
    ]
    best = np.inf
    for start in starts:
        found = least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=400)
        best = min(best, float(np.linalg.norm(found.fun)))
        if best < _SOLVED:
            break
    return best


def measure_rbar(m: int, *, rng: np.random.Generator | None = None, n_starts: int = 20) -> int:
    """Find r̄(m) numerically: the first order at which no start of the search solves the system.

    Parameters
    ----------
    m : int
        Number of atoms in the cell, at least 2 (seconds up to m = 4).
    rng : numpy.random.Generator, optional
        Source of the starting points; a fixed one by default.
    n_starts : int
        Number of random starting points an order.

    Raises
    ------
    ValueError
        If ``m`` is less than 2.

    Examples
    --------
    >>> measure_rbar(2)
    4
    """
    r = 1
    while rbar_residual(m, r, rng=rng, n_starts=n_starts) < _SOLVED:
        r += 1
    return r


def _gauss_hermite_start(m: int) -> Array:
    nodes, weights = np.polynomial.hermite_e.hermegauss(m)
    share = weights / weights.sum()
    return np.concatenate([np.log(np.maximum(share - _SMALLEST_WEIGHT, 1e-12)), nodes, np.full(m, -0.5)])


def _unpack(theta: Array, m: int) -> tuple[Array, Array, Array]:
    """Weights, s and v from free numbers: softmax with a floor, and the scale Σ w s² = 1."""
    logits, s, v = theta[:m], theta[m : 2 * m], theta[2 * m :]
    share = np.exp(logits - logits.max())
    weights = _SMALLEST_WEIGHT + (1.0 - m * _SMALLEST_WEIGHT) * share / share.sum()
    size = float(np.sqrt(weights @ s**2))
    return weights, s / size, v / size**2


def _left_hand_sides(weights: Array, s: Array, v: Array, r: int) -> Array:
    """``Σ_i w_i h_l(s_i, v_i)``, l = 1..r, where ``exp(s z + v z²) = Σ_l h_l z^l``: ``l h_l = s h_{l-1} + 2 v h_{l-2}``."""
    terms = [np.ones_like(s), s]
    for order in range(2, r + 1):
        terms.append((s * terms[-1] + 2.0 * v * terms[-2]) / order)
    return np.array([float(weights @ term) for term in terms[1 : r + 1]])
