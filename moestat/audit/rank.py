"""Numerical rank of families of functions: dependences in words, and the parameters of which they hide the second order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moestat.inference.information import sparse_basis

Array = NDArray[np.float64]

# Singular values of unit columns: rounding leaves 1e-15, functions that differ on the sample far more.
RANK_RTOL = 1e-10
# A kept singular value and a dropped one closer than this factor leave the rank open.
CLEAR = 1e3
# A column below this share of the size that its factors give it is zero.
ZERO = 1e-12
ROUNDS = 500  # of projections


@dataclass(frozen=True)
class Rank:
    """Numerical rank of some functions on a sample.

    Attributes
    ----------
    rank, n_functions : int
    null : ndarray (n_functions, n_functions - rank)
        Combinations that vanish on the sample, as sparse as elimination makes them.
    smallest, dropped : float
        Smallest singular value that counts and largest that does not (0 if there is none), columns scaled to length one.
    """

    rank: int
    n_functions: int
    null: Array
    smallest: float
    dropped: float

    @property
    def full(self) -> bool:
        """Whether the functions are linearly independent."""
        return self.rank == self.n_functions

    @property
    def clear(self) -> bool:
        """Whether the singular values leave no doubt."""
        return self.smallest > CLEAR * max(self.dropped, 1e-15)


def column_rank(columns: Array, natural: Array | None = None) -> Rank:
    """Rank of `columns (N, n)` after scaling each to length one; those that are zero against their `natural` length stay zero."""
    n = columns.shape[1]
    length = np.linalg.norm(columns, axis=0)
    size = np.where(length > 0.0, length, 1.0) if natural is None else np.maximum(natural, 1e-300)
    zero = length <= ZERO * size
    scale = np.where(zero, size, length)
    values, right = _right(np.where(zero, 0.0, columns / scale))
    kept = values > RANK_RTOL * max(float(values.max(initial=0.0)), 1e-300)
    null = sparse_basis(right[~kept].T) / scale[:, None]
    dropped = values[~kept].max(initial=0.0)
    return Rank(int(kept.sum()), n, null, float(values[kept].min(initial=np.inf)), float(dropped))


def _right(matrix: Array) -> tuple[Array, Array]:
    """Singular values and right singular vectors, as many as the matrix has columns."""
    n, m = matrix.shape
    _, values, right = np.linalg.svd(matrix, full_matrices=n < m)
    return np.concatenate([values, np.zeros(m - values.size)]), right


def relation(vector: Array, names: Sequence[str], lead: int) -> str:
    """A vanishing combination as an equation, solved for its name at `lead`: `∂²f/∂b² = 2 ∂f/∂ν`."""
    share = -vector / vector[lead]
    share[lead] = 0.0
    terms = ""
    for j in np.flatnonzero(np.abs(share) > 1e-7 * np.abs(share).max(initial=0.0)).tolist():
        size = abs(float(share[j]))
        factor = "" if abs(size - 1.0) < 1e-7 else f"{size:.4g} "
        sign = ("−" if share[j] < 0.0 else "") if not terms else (" − " if share[j] < 0.0 else " + ")
        terms += f"{sign}{factor}{names[j]}"
    return f"{names[lead]} = {terms or '0'}"


@dataclass(frozen=True)
class HiddenOrder:
    """The parameters whose second order in an over-specified cell the first order of others can undo.

    Attributes
    ----------
    slow : tuple of int
        Their positions.
    partners : tuple of int
        The parameters that undo it.
    directions : ndarray (D, P)
        Directions in the slow parameters (in units of their sizes) along which two atoms may part.
    atoms : int
        How many atoms a cell must have; 0 where nothing is hidden.
    """

    slow: tuple[int, ...] = ()
    partners: tuple[int, ...] = ()
    directions: Array = field(default_factory=lambda: np.zeros((0, 0)))
    atoms: int = 0


def hidden_order(null: Array, size: Array) -> HiddenOrder:
    """Which parameters split without a trace at second order.

    Atoms `θ + Δ_i` of one cell, of weights `w_i`, add `Σ w Δ ∂f + ½ Σ_ab S_ab ∂²f/∂a∂b` with `S = Σ w ΔΔᵀ` positive semidefinite. So a
    vanishing combination of derivatives hides a split only if its second-order part is positive semidefinite: parameters on the diagonal of no
    such combination are seen at second order, and have the rate `n^(-1/4)`.

    Parameters
    ----------
    null : ndarray (1 + P + P(P+1)/2, L)
        Vanishing combinations of `f`, its P first and its second derivatives, the pairs `j <= i` row by row.
    size : ndarray (P,)
        Sizes of the first derivatives.
    """
    p = len(size)
    rows, cols = np.tril_indices(p)
    moments = np.zeros((null.shape[1], p, p))
    moments[:, rows, cols] = (np.where(rows == cols, 2.0, 1.0)[:, None] * null[1 + p :]).T * (size[rows] * size[cols])
    moments[:, cols, rows] = moments[:, rows, cols]
    first = null[1 : 1 + p].T * size
    top = np.maximum(np.abs(moments).max(axis=(1, 2), initial=0.0), np.abs(first).max(axis=1, initial=0.0))[:, None]
    top = np.where(top > 0.0, top, 1.0)
    moments, first = moments / top[:, :, None], first / top
    active = np.ones(p, dtype=bool)
    while len(moments):
        # A positive semidefinite matrix with a zero on its diagonal is zero in that row.
        dead = active & (np.abs(np.diagonal(moments, axis1=1, axis2=2)).max(axis=0) < 1e-8)
        if not dead.any():
            break
        active &= ~dead
        values, right = _right(moments[:, dead].reshape(len(moments), -1).T)
        rank = int((values > 1e-8 * max(float(values.max(initial=0.0)), 1e-8)).sum())
        keep = right[rank:]
        moments, first = np.einsum("ml,lij->mij", keep, moments), keep @ first
    if not len(moments) or not active.any():
        return HiddenOrder()
    inside = np.flatnonzero(active)
    span = moments[:, inside[:, None], inside]
    basis = _orthonormal(span)
    found = _semidefinite(basis)
    if found is None:
        return HiddenOrder()
    slow = inside[np.diagonal(found) > 1e-6 * np.trace(found)]
    partners = [i for i in range(p) if i not in slow and np.abs(first[:, i]).max() > 1e-7]
    values, vectors = np.linalg.eigh(found)
    rank = int((values > 1e-5).sum())
    lines = vectors[:, -1:].T if rank == 1 else _rank_one(basis)
    directions = np.zeros((len(lines), p))
    directions[:, inside] = lines
    rank = 1 if len(lines) else rank
    return HiddenOrder(tuple(int(i) for i in slow), tuple(partners), directions, rank + 1)


def _orthonormal(span: Array) -> Array:
    """Orthonormal basis `(L, p²)` of some matrices `(M, p, p)`."""
    values, right = _right(span.reshape(len(span), -1))
    return np.asarray(right[values > 1e-8 * max(float(values.max(initial=0.0)), 1e-8)])


def _project(basis: Array, matrix: Array) -> Array:
    return np.asarray((basis.T @ (basis @ matrix.ravel())).reshape(matrix.shape))


def _semidefinite(basis: Array) -> Array | None:
    """A positive semidefinite matrix of trace one in the span, reached from the identity by projections, or None."""
    p = round(float(np.sqrt(basis.shape[1])))
    point = np.eye(p) / p
    for _ in range(ROUNDS):
        inside = _project(basis, point)
        trace = float(np.trace(inside))
        if trace < 1e-9:
            return None
        values, vectors = np.linalg.eigh(inside / trace)
        if values[0] > -1e-7:
            return np.asarray(inside / trace)
        point = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return None


def _rank_one(basis: Array) -> Array:
    """Unit vectors v `(D, p)` whose `v vᵀ` lie in the span: those found from the axes and from a few other directions."""
    p = round(float(np.sqrt(basis.shape[1])))
    starts = np.concatenate([np.eye(p), np.random.default_rng(0).standard_normal((2 * p, p))])
    found: list[Array] = []
    for v in starts:
        for _ in range(ROUNDS):
            last, v = v, np.linalg.eigh(_project(basis, np.outer(v, v)))[1][:, -1]
            if 1.0 - abs(float(last @ v)) / float(np.linalg.norm(last)) < 1e-15:
                break
        outer = np.outer(v, v)
        new = all(abs(float(v @ other)) < 1.0 - 1e-6 for other in found)
        if new and len(found) < p and np.linalg.norm(outer - _project(basis, outer)) < 1e-6:
            found.append(v)
    return np.array(found).reshape(len(found), p)
