"""The weighted empirical measure: canonical sample, inverse-CDF draws, weighted k-means.

Everything here is a function of the measure ``sum_i w_i delta_(x_i, y_i)`` and not of the way it is written down:
a row repeated three times is the same as a row of weight three, and the order of the rows does not matter.
Repeated rows are merged and sorted first, so that both spellings give the very same arrays; comparisons that decide
a label then carry a tolerance, so that rounding in the weights does not decide it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["canonical_sample", "draw_rows", "fill_empty", "first_smallest", "standardised", "weighted_kmeans"]

Array = NDArray[np.float64]
Labels = NDArray[np.intp]

# Two positions on the cumulated weight nearer than this share of the total are one position: far above the rounding
# of a cumulated sum of 1e7 terms, far below the weight of a row that matters.
_POSITION_TOL = 1e-10
# Relative tolerance of the comparisons that choose a label, a candidate or a farthest row.
_TIE_TOL = 1e-9
# Standardised values beyond this come from rows of negligible weight; clipped so that squares stay finite.
_CLIP = 1e6


def canonical_sample(X: Array, y: Array, weight: Array, size: int = 5000) -> tuple[Array, Array, Array]:
    """Distinct rows of the weighted empirical measure in canonical order, thinned to at most `size` rows.

    Rows of zero weight are dropped, equal rows are merged (weights added), and the rest is sorted lexicographically
    by ``(y, x)``. If more than `size` distinct rows remain, the rows at the positions ``(j + 1/2) / size`` of the
    cumulated weight are taken, each with the same weight: a stratified sample by the inverse distribution function.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) or (n, D) array
    weight : (n,) array, not negative
    size : int
        Largest number of rows returned.

    Returns
    -------
    X_s : (m, d) array
    y_s : (m, D) array
    w_s : (m,) array
        Positive weights with the same sum as `weight`.

    Raises
    ------
    ValueError
        If no row has a positive weight, or `size` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0], [0.0], [1.0]])
    >>> y = np.array([2.0, 1.0, 2.0])
    >>> X_s, y_s, w_s = canonical_sample(X, y, np.ones(3))
    >>> X_s.ravel().tolist(), y_s.ravel().tolist(), w_s.tolist()
    ([0.0, 1.0], [1.0, 2.0], [1.0, 2.0])
    """
    if size < 1:
        raise ValueError(f"size is {size}; it must be at least 1.")
    y = y.reshape(len(y), -1)
    order, new = _sorted_runs(X, y, weight)
    if order.size > size and new.all() and weight.min() == weight.max():
        # distinct rows of equal weight: the general rule below, without its arrays of n entries
        rows = order[((np.arange(size) + 0.5) / size * order.size).astype(np.intp)]
        return X[rows] + 0.0, y[rows] + 0.0, np.full(size, float(weight[0]) * order.size / size)
    starts = np.flatnonzero(new)
    if starts.size <= size:
        w_s = np.add.reduceat(weight[order], starts)
        rows = order[starts]
    else:
        positions = draw_rows(weight[order], (np.arange(size) + 0.5) / size)
        runs, counts = np.unique(np.searchsorted(starts, positions, side="right") - 1, return_counts=True)
        w_s = counts * (float(weight.sum()) / size)
        rows = order[starts[runs]]
    # Adding zero turns -0.0 into 0.0: the two compare equal, so either may stand for a merged row.
    return X[rows] + 0.0, y[rows] + 0.0, w_s


def _sorted_runs(X: Array, y: Array, weight: Array) -> tuple[Labels, NDArray[np.bool_]]:
    """Row indices sorted by (y, x, weight), and a flag on the first row of each run of equal (y, x).

    Sorts by the first column, then only the rows still tied by the next one: one plain sort when `y` has no ties.
    """
    columns = [*y.T, *X.T]
    if not weight.max(initial=0.0) > 0.0:
        raise ValueError(f"The sample weight is zero on all {weight.size} rows; at least one must be positive.")
    if weight.min() > 0.0:
        order = np.argsort(columns[0], kind="stable")
    else:
        kept = np.flatnonzero(weight > 0)
        order = kept[np.argsort(columns[0][kept], kind="stable")]
    new = np.ones(order.size, dtype=np.bool_)
    first = columns[0][order]
    np.not_equal(first[1:], first[:-1], out=new[1:])
    del first
    for column in columns[1:]:
        tied = _tied_positions(new)
        if tied.size == 0:
            return order, new
        values = _sort_tied(order, new, tied, column)
        new[tied[1:]] |= values[1:] != values[:-1]
    tied = _tied_positions(new)
    if tied.size:  # equal rows: sorted by weight, so that their sum does not depend on the order of the rows
        _sort_tied(order, new, tied, weight)
    return order, new


def _tied_positions(new: NDArray[np.bool_]) -> Labels:
    """Positions that belong to a run of more than one row."""
    alone = new.copy()
    alone[:-1] &= new[1:]
    return np.flatnonzero(~alone)


def _sort_tied(order: Labels, new: NDArray[np.bool_], tied: Labels, column: Array) -> Array:
    """Sort the tied positions of `order` by `column` inside their runs, in place; the sorted values."""
    rows = order[tied]
    values = column[rows]
    inside = np.lexsort((values, np.cumsum(new[tied])))
    order[tied] = rows[inside]
    return values[inside]


def draw_rows(weight: Array, u: Array) -> Labels:
    """Rows at the positions `u` of the cumulated weight: ``min{i : w_1 + ... + w_i > u (w_1 + ... + w_n)}``.

    Rows of zero weight are never drawn. A position that falls on a boundary up to rounding goes to the row after it.

    Parameters
    ----------
    weight : (n,) array, not negative, not all zero
    u : (m,) array in [0, 1)

    Returns
    -------
    (m,) array of row indices

    Examples
    --------
    >>> draw_rows(np.array([1.0, 0.0, 3.0]), np.array([0.0, 0.2, 0.25, 0.99])).tolist()
    [0, 0, 2, 2]
    """
    cumulated = np.cumsum(weight)
    total = cumulated[-1]
    last = np.searchsorted(cumulated, total, side="left")
    rows: Labels = np.minimum(np.searchsorted(cumulated, (u + _POSITION_TOL) * total, side="right"), last)
    return rows


def standardised(values: Array, weight: Array) -> Array:
    """Columns with weighted mean zero and weighted variance one; constant columns become zero.

    Parameters
    ----------
    values : (n, q) array
    weight : (n,) array

    Returns
    -------
    (n, q) array
    """
    share = weight / weight.sum()
    largest = np.max(np.abs(values), axis=0, initial=0.0)
    scaled = values / np.where(largest > 0, largest, 1.0)  # now in [-1, 1]: no square overflows
    centred = scaled - share @ scaled
    spread = np.sqrt(share @ centred**2)
    constant = spread <= 1e-12
    z: Array = np.clip(centred / np.where(constant, 1.0, spread), -_CLIP, _CLIP)
    z[:, constant] = 0.0
    return z


def weighted_kmeans(Z: Array, weight: Array, K: int, rng: np.random.Generator, n_iter: int = 30) -> Labels:
    """Labels of a weighted k-means: seeds by greedy k-means++, then Lloyd's iterations.

    Minimises ``sum_i w_i min_k |z_i - c_k|^2``. Seeds are drawn by the inverse distribution function on the rows in
    the order given; give rows in canonical order to make the answer a function of the measure. Empty clusters start
    again at the farthest row. No cluster is empty in the answer: where `Z` has fewer than `K` distinct rows, the
    heaviest clusters are halved by position.

    Parameters
    ----------
    Z : (n, q) array
    weight : (n,) array, positive
    K : int
        Number of clusters.
    rng : numpy.random.Generator
    n_iter : int
        Largest number of Lloyd's iterations.

    Returns
    -------
    (n,) array of labels ``0 ... K-1``

    Raises
    ------
    ValueError
        If there are fewer rows than clusters.

    References
    ----------
    Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding.

    Examples
    --------
    >>> Z = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> labels = weighted_kmeans(Z, np.ones(4), 2, np.random.default_rng(0))
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    if len(Z) < K:
        raise ValueError(f"There are {len(Z)} distinct rows of positive weight for {K} experts; give at least {K}.")
    share = weight / weight.sum()
    centred = Z - share @ Z
    square = np.einsum("ij,ij->i", centred, centred)
    slack = _TIE_TOL * float(share @ square)
    columns = np.ascontiguousarray(centred.T)
    centres = centred[_seeds(centred, columns, square, share, K, rng, slack)]
    labels: Labels = np.full(len(Z), -1, dtype=np.intp)
    index = np.arange(K)[:, None]
    for _ in range(n_iter):
        distance = np.einsum("ij,ij->i", centres, centres)[:, None] - 2.0 * (centres @ columns)
        updated = first_smallest(distance, slack)
        counts = np.bincount(updated, minlength=K)
        if not counts.all():
            _reseed_empty(updated, counts, distance.min(axis=0) + square, slack)
        if np.array_equal(updated, labels):
            break
        labels = updated
        member = np.where(labels == index, share, 0.0)
        mass = member.sum(axis=1)
        filled = mass > 0
        centres[filled] = (member @ centred)[filled] / mass[filled, None]
    return fill_empty(labels, share, K)


def first_smallest(cost: Array, slack: float) -> Labels:
    """For each column the first row whose cost is within `slack` of the smallest: ties are not decided by rounding."""
    return np.asarray(np.argmax(cost <= cost.min(axis=0) + slack, axis=0), dtype=np.intp)


def _seeds(
    centred: Array, columns: Array, square: Array, share: Array, K: int, rng: np.random.Generator, slack: float
) -> list[int]:
    """Row indices of the greedy k-means++ seeds: of a few candidates the one that lowers the cost most."""
    chosen = [int(draw_rows(share, rng.random(1))[0])]
    nearest = np.maximum(square + square[chosen[0]] - 2.0 * (centred[chosen[0]] @ columns), 0.0)
    n_candidates = 2 + int(np.log(K))
    for _ in range(1, K):
        cost = share * nearest
        candidates = draw_rows(cost if cost.sum() > slack else share, rng.random(n_candidates))
        distance = square + square[candidates, None] - 2.0 * (centred[candidates] @ columns)
        distance = np.maximum(np.minimum(distance, nearest), 0.0)
        best = int(first_smallest(distance @ share, slack))
        chosen.append(int(candidates[best]))
        nearest = distance[best]
    return chosen


def _reseed_empty(labels: Labels, counts: Labels, cost: Array, slack: float) -> None:
    """Give each empty cluster the farthest row of a cluster that can spare one, in place."""
    for k in np.flatnonzero(counts == 0):
        cost = np.where(counts[labels] > 1, cost, 0.0)
        farthest = int(first_smallest(-cost, slack))
        if cost[farthest] <= slack:
            return
        counts[labels[farthest]] -= 1
        labels[farthest] = k
        counts[k] = 1


def fill_empty(labels: Labels, share: Array, K: int) -> Labels:
    """Halve the heaviest cluster of at least two rows, by position, until no label is empty."""
    labels = labels.copy()
    for k in np.flatnonzero(np.bincount(labels, minlength=K) == 0):
        counts = np.bincount(labels, minlength=K)
        # Clusters of a single row are out of the question however small the weight of the others.
        spare = np.where(counts > 1, np.bincount(labels, share, minlength=K), -1.0)
        rows = np.flatnonzero(labels == first_smallest(-spare, _TIE_TOL))
        labels[rows[rows.size // 2 :]] = k
    return labels
