"""Starting values: responsibilities from partitions of the weighted empirical measure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moestat.solvers.kmeans import (
    Array,
    Labels,
    canonical_sample,
    draw_rows,
    fill_empty,
    first_smallest,
    standardised,
    weighted_kmeans,
)

__all__ = [
    "START_KINDS",
    "canonical_sample",
    "draw_rows",
    "initial_responsibilities",
    "start_plan",
    "weighted_kmeans",
]

# Share of a row that its own expert gets; the rest is shared, so that no expert starts degenerate.
_OWN_SHARE = 0.9
# A residual this small next to the response is rounding: a partition by it would mean nothing.
_RESIDUAL_FLOOR = 1e-6


def initial_responsibilities(
    kind: str,
    X: Array,
    y: Array,
    weight: Array,
    K: int,
    rng: np.random.Generator,
    residual: Array | None = None,
) -> Array:
    """Responsibilities of a start: 0.9 on the label that a partition gives to the row, the rest shared.

    The partitions, of rows in canonical order (`canonical_sample`):

    * ``"kmeans"`` – k-means on standardised x and y, y multiplied by ``sqrt(d / D)`` so that both count alike;
    * ``"kmeans_x"``, ``"kmeans_y"`` – k-means on one of them;
    * ``"residuals"`` – k-means on the residual of a weighted least-squares fit of y on x, x counting lightly;
    * ``"cells"`` – Voronoi cells of `K` random rows in x (random segments, for one column);
    * ``"lines"`` – `K` local lines around random rows, each row to the line with the smallest residual;
    * ``"random"`` – a random label for each distinct row.

    Parameters
    ----------
    kind : str
        One of `START_KINDS`.
    X : (n, d) array
    y : (n, D) array
    weight : (n,) array, positive
    K : int
        Number of experts.
    rng : numpy.random.Generator
    residual : (n,) or (n, D) array, optional
        Residual to use by ``"residuals"`` in the place of the least-squares one.

    Returns
    -------
    (K, n) array, positive, columns sum to one

    Raises
    ------
    ValueError
        If `kind` is not known, or there are fewer rows than experts.

    Examples
    --------
    >>> x = np.arange(4.0)[:, None]
    >>> initial_responsibilities("kmeans_y", x, x > 1.5, np.ones(4), 2, np.random.default_rng(0)).shape
    (2, 4)
    """
    if kind not in _PARTITIONS:
        raise ValueError(f"init is {kind!r}; it must be one of {', '.join(START_KINDS)}.")
    n = len(X)
    if n < K:
        raise ValueError(f"There are {n} distinct rows of positive weight for {K} experts; give at least {K}.")
    if K == 1:
        return np.ones((1, n))
    zx = standardised(X, weight)
    zy = standardised(_columns(y if kind != "residuals" or residual is None else residual), weight)
    if kind == "residuals" and residual is None:
        zy = _least_squares_residual(zx, zy, weight)
    labels = _PARTITIONS[kind](zx, zy, weight, K, rng)
    resp = np.full((K, n), (1.0 - _OWN_SHARE) / (K - 1))
    resp[labels, np.arange(n)] = _OWN_SHARE
    return resp


def _columns(y: Array) -> Array:
    return np.asarray(y, dtype=np.float64).reshape(len(y), -1)


def _least_squares_residual(zx: Array, zy: Array, weight: Array) -> Array:
    """Standardised residual of the weighted least-squares fit; `zy` itself where the fit leaves only rounding."""
    root = np.sqrt(weight / weight.sum())[:, None]
    coef = np.linalg.lstsq(root * zx, root * zy, rcond=1e-8)[0]
    residual = zy - zx @ coef
    exact = np.sqrt(np.sum((root * residual) ** 2, axis=0)) <= _RESIDUAL_FLOOR
    return np.where(exact, zy, standardised(residual, weight))


def _by_xy(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    balance = np.sqrt(max(zx.shape[1], 1) / zy.shape[1])
    return weighted_kmeans(np.hstack([zx, balance * zy]), weight, K, rng)


def _by_x(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    return weighted_kmeans(zx, weight, K, rng)


def _by_y(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    return weighted_kmeans(zy, weight, K, rng)


def _by_residual(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    light = 0.5 * np.sqrt(zy.shape[1] / max(zx.shape[1], 1))
    return weighted_kmeans(np.hstack([light * zx, zy]), weight, K, rng)


def _by_random_label(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    return fill_empty(rng.integers(K, size=len(zx)), weight / weight.sum(), K)


def _by_lines(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    """Fit `K` lines, each with Gaussian weights around a random row, and give each row to the nearest line.

    The bandwidth is the distance within which 1/(2K) of the weight lies; a small ridge on the slopes keeps the fit
    defined when the neighbourhood has fewer rows than columns.
    """
    n, d = zx.shape
    share = weight / weight.sum()
    features = np.hstack([np.ones((n, 1)), zx])
    place = np.hstack([zx, np.sqrt(max(d, 1) / zy.shape[1]) * zy])
    ridge = np.diag(np.r_[1e-12, np.full(d, 1e-3)])
    cost = np.empty((K, n))
    for k, row in enumerate(draw_rows(share, rng.random(K))):
        distance = np.sum((place - place[row]) ** 2, axis=1)
        near_first = np.argsort(distance, kind="stable")
        within = draw_rows(share[near_first], np.array([0.5 / K]))[0]
        bandwidth = max(distance[near_first[within]], 1e-6)
        local = share * np.exp(-0.5 * distance / bandwidth)
        weighted = features * local[:, None]
        coef = np.linalg.solve(weighted.T @ features + local.sum() * ridge, weighted.T @ zy)
        cost[k] = np.sum((zy - features @ coef) ** 2, axis=1)
    return fill_empty(first_smallest(cost, 1e-9), share, K)


def _by_cells(zx: Array, zy: Array, weight: Array, K: int, rng: np.random.Generator) -> Labels:
    """Voronoi cells of K random rows in x: with one column, segments between random breakpoints."""
    share = weight / weight.sum()
    distance = np.stack([np.sum((zx - zx[row]) ** 2, axis=1) for row in draw_rows(share, rng.random(K))])
    return fill_empty(first_smallest(distance, 1e-9), share, K)


_PARTITIONS: dict[str, Callable[[Array, Array, Array, int, np.random.Generator], Labels]] = {
    "kmeans": _by_xy,
    "kmeans_x": _by_x,
    "kmeans_y": _by_y,
    "residuals": _by_residual,
    "cells": _by_cells,
    "lines": _by_lines,
    "random": _by_random_label,
}
START_KINDS: tuple[str, ...] = tuple(_PARTITIONS)

# After the first k-means on (x, y): no single kind wins on every problem, so a plan takes turns.
_MIX = ("kmeans_y", "cells", "kmeans", "kmeans_x", "lines", "kmeans", "residuals", "cells", "random")


def start_plan(init: str, n_init: int) -> list[str]:
    """Kinds of the `n_init` starts that `init` asks for.

    ``"kmeans"`` asks for a mix: k-means on (x, y) first, then k-means with new seeds and the other kinds in turn.
    Any other kind is repeated with new draws.

    Parameters
    ----------
    init : str
        One of `START_KINDS`.
    n_init : int
        Number of starts.

    Raises
    ------
    ValueError
        If `init` is not known or `n_init` is not positive.

    Examples
    --------
    >>> start_plan("kmeans", 3)
    ['kmeans', 'kmeans_y', 'cells']
    >>> start_plan("random", 2)
    ['random', 'random']
    """
    if init not in _PARTITIONS:
        raise ValueError(f"init is {init!r}; it must be one of {', '.join(START_KINDS)}.")
    if n_init < 1:
        raise ValueError(f"n_init is {n_init}; it must be at least 1.")
    if init != "kmeans":
        return [init] * n_init
    return ["kmeans", *(_MIX[i % len(_MIX)] for i in range(n_init - 1))]
