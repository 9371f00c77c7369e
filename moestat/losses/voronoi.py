"""Voronoi cells: which atoms of the estimate lie nearest to each atom of the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moestat.losses.blocks import Array, Index, Pairs

_TIE = 1e-12


@dataclass(frozen=True, eq=False)
class VoronoiCells:
    """A partition of the atoms of an estimate by the nearest atom of the truth.

    Attributes
    ----------
    assignment : ndarray of int (k,)
        For each atom of the estimate its atom of the truth; ties go to the lowest one.
    n_cells : int
        Number k* of atoms of the truth.
    tie : bool
        True if for some atom two distances differ by less than 1e-12.
    """

    assignment: Index
    n_cells: int
    tie: bool

    @property
    def cells(self) -> list[Index]:
        """Atoms of the estimate in each cell; a cell may be empty."""
        return [np.flatnonzero(self.assignment == j) for j in range(self.n_cells)]

    @property
    def pattern(self) -> tuple[int, ...]:
        """Sizes ``(|A_1|, ..., |A_k*|)`` of the cells."""
        return tuple(int(size) for size in np.bincount(self.assignment, minlength=self.n_cells))


def cells_at(pairs: Pairs, t2: Array) -> VoronoiCells:
    """Voronoi cells after the translation of the estimate's gate slopes by ``-t2``.

    The distance is the Euclidean one on all blocks, (β1, a, b, variance); β0 has no part in it.
    """
    return describe(pairs, nearest(pairs.distances(t2)), t2)


def describe(pairs: Pairs, assignment: Index, t2: Array) -> VoronoiCells:
    """The cells of a given assignment, and whether at ``t2`` another one is as near."""
    distance = np.sqrt(pairs.distances(t2))
    k, k_star = pairs.n_atoms
    tie = False
    if k_star > 1:
        own = distance[np.arange(k), assignment]
        others = distance.copy()
        others[np.arange(k), assignment] = np.inf
        tie = bool(np.any(np.abs(others.min(axis=1) - own) < _TIE))
    return VoronoiCells(assignment, k_star, tie)


def nearest(squared_distance: Array) -> Index:
    """Lowest index of a nearest atom of the truth; distances (..., k, k*) that differ by rounding are tied."""
    distance = np.sqrt(squared_distance)
    least = distance.min(axis=-1, keepdims=True)
    chosen: Index = np.argmax(distance < least + _TIE, axis=-1)
    return chosen
