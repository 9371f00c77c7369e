"""Search over translations and Voronoi cells: the pair with the least loss, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moestat.losses.atomwise import LossKind
from moestat.losses.blocks import Array, Index, Pairs
from moestat.losses.gauge import minimise, minimise_in_polyhedron, minimise_on_line, weighted_median
from moestat.losses.voronoi import nearest

# Up to this number of assignments all of them are searched in d > 1 (in d = 1 the cells are enumerated exactly).
MOST_ASSIGNMENTS = 10_000


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best assignment (k,), its translation t2 (d,) and factor ``s = exp(t1)``; ``value`` in the estimate's units."""

    assignment: Index
    t2: Array
    s: float
    value: float


def mass_terms(pairs: Pairs, kind: LossKind, assignments: Index, s: Array | None = None) -> tuple[Array, Array]:
    """Best factors ``s`` (A,) (or given ones) and the mass terms ``Σ_j |W_j - s w*_j|`` (A,) of assignments (A,k).

    The sum is over the cells in which the loss compares masses. ``s = 1`` where the gauge leaves the weights as they are.
    Where empty cells carry half of the truth's mass the infimum over t1 is at minus infinity; the median is then taken over
    the other cells.
    """
    member = assignments[:, :, None] == np.arange(pairs.truth_weights.size)
    mass = np.einsum("i,aij->aj", pairs.estimate_weights, member)
    counts = {"all": True, "none": False, "inexact": member.sum(axis=1) != 1}[kind.mass]
    weight = np.where(counts, pairs.truth_weights, 0.0) * np.ones(mass.shape)
    mass = np.where(counts, mass, 0.0)
    if s is None:
        s = np.ones(mass.shape[0]) if pairs.gauge == "none" else _best_factors(mass, weight)
    return s, np.abs(mass - s[:, None] * weight).sum(axis=1)


def _best_factors(mass: Array, weight: Array) -> Array:
    ratio = np.where(weight > 0.0, mass / np.where(weight > 0.0, weight, 1.0), np.inf)
    s = weighted_median(ratio, weight)
    lost = ~(s > 0.0)
    if lost.any():
        s = np.where(lost, weighted_median(ratio, np.where(mass > 0.0, weight, 0.0)), s)
    # Only atoms of the truth without weight can leave no positive ratio.
    return np.where(np.isfinite(s) & (s > 0.0), s, 1.0)


def best_voronoi(pairs: Pairs, kind: LossKind) -> Optimum:
    """Infimum over t1, t2 of the loss whose cells are the Voronoi cells at t2.

    d = 1: the cells are constant on intervals of t2, each of which holds one convex problem. d > 1: fixed points of
    ``t2 -> cells -> t2`` from the k k* differences of atoms; then, for ``k*^k <= 10^4``, every other assignment that could be
    better is solved within the polyhedron on which it is the Voronoi one. Exact in both cases.
    """
    if pairs.gate.shape[2] == 0:
        return choose(pairs, kind, nearest(pairs.distances(np.zeros(0)))[None, :])
    if pairs.gate.shape[2] == 1:
        return _best_on_line(pairs, kind)
    best = _fixed_points(pairs, kind)
    k, k_star = pairs.n_atoms
    if k_star > 1 and k * np.log(k_star) <= np.log(MOST_ASSIGNMENTS):
        best = _enumerate(pairs, kind, best)
    return best


def choose(pairs: Pairs, kind: LossKind, assignments: Index, t2: Array | None = None) -> Optimum:
    """The best of some assignments, each at its own minimiser (or at given translations)."""
    problem = kind.radial_sum(pairs, assignments)
    translations = minimise(problem) if t2 is None else t2
    s, mass = mass_terms(pairs, kind, assignments)
    values = problem.value(translations) + mass
    place = int(np.argmin(values))
    return Optimum(assignments[place], translations[place], float(s[place]), float(values[place]))


def _best_on_line(pairs: Pairs, kind: LossKind) -> Optimum:
    edges = _breakpoints(pairs)
    inner = 0.5 * (edges[1:] + edges[:-1])
    outside = [edges[0] - 1.0 - abs(edges[0]), edges[-1] + 1.0 + abs(edges[-1])] if edges.size else [0.0]
    probes = np.concatenate([outside[:1], inner, outside[1:]])
    low, high = np.append(-np.inf, edges), np.append(edges, np.inf)
    distance = (pairs.gate[None, :, :, 0] - probes[:, None, None]) ** 2 + pairs.fixed
    assignments = nearest(distance)
    # Neighbouring intervals with the same cells are one interval.
    new = np.append(True, np.any(assignments[1:] != assignments[:-1], axis=1))
    first = np.flatnonzero(new)
    last = np.append(first[1:] - 1, probes.size - 1)
    assignments = assignments[first]
    low, high = low[first], high[last]
    problem = kind.radial_sum(pairs, assignments)
    _, mass = mass_terms(pairs, kind, assignments)
    # Any value is an upper bound: intervals whose lower bound is above the least of them need no search.
    heaviest = np.argmax(problem.factor, axis=1)[:, None, None]
    trial = np.clip(np.take_along_axis(problem.centre, heaviest, axis=1)[:, 0, 0], low, high)
    reached = (problem.value(trial[:, None]) + mass).min()
    rows = np.flatnonzero(problem.lower_bound() + mass <= reached * (1.0 + 1e-12))
    t2 = minimise_on_line(problem.take(rows), low[rows], high[rows])
    return choose(pairs, kind, assignments[rows], t2)


def _breakpoints(pairs: Pairs) -> Array:
    """Translations at which an atom is as near to one atom of the truth as to another."""
    gate, fixed = pairs.gate[:, :, 0], pairs.fixed
    left, right = np.triu_indices(pairs.n_atoms[1], 1)
    slope = 2.0 * (gate[:, left] - gate[:, right])
    rise = gate[:, left] ** 2 - gate[:, right] ** 2 + fixed[:, left] - fixed[:, right]
    crosses = slope != 0.0
    return np.unique(rise[crosses] / slope[crosses])


def starts(pairs: Pairs) -> Array:
    """Translations from which to search: none, and those that join a pair of atoms."""
    d = pairs.gate.shape[2]
    return np.concatenate([np.zeros((1, d)), pairs.gate.reshape(-1, d)])


def _fixed_points(pairs: Pairs, kind: LossKind) -> Optimum:
    origins = starts(pairs)
    squared = ((pairs.gate[None] - origins[:, None, None, :]) ** 2).sum(axis=-1) + pairs.fixed
    assignments = np.unique(nearest(squared), axis=0)
    # The values at the starts themselves are values of the loss, too.
    best = min((choose(pairs, kind, nearest(pairs.distances(t))[None, :], t[None, :]) for t in origins), key=_value)
    seen: set[tuple[int, ...]] = set()
    while assignments.size:
        seen.update(map(tuple, assignments.tolist()))
        t2 = minimise(kind.radial_sum(pairs, assignments))
        squared = ((pairs.gate[None] - t2[:, None, None, :]) ** 2).sum(axis=-1) + pairs.fixed
        cells = nearest(squared)
        best = min(best, choose(pairs, kind, cells, t2), key=_value)
        fresh = [row for row in np.unique(cells, axis=0) if tuple(row.tolist()) not in seen]
        assignments = np.array(fresh, dtype=np.int64).reshape(len(fresh), pairs.n_atoms[0])
    return best


def _value(optimum: Optimum) -> float:
    return optimum.value


def _enumerate(pairs: Pairs, kind: LossKind, best: Optimum) -> Optimum:
    """Search all assignments that could be better than ``best``."""
    k, k_star = pairs.n_atoms
    assignments = np.indices((k_star,) * k).reshape(k, -1).T
    s, mass = mass_terms(pairs, kind, assignments)
    problem = kind.radial_sum(pairs, assignments)
    rows = np.flatnonzero(problem.lower_bound() + mass < best.value)
    if rows.size == 0:
        return best
    t2 = minimise(problem.take(rows))
    free = problem.take(rows).value(t2) + mass[rows]
    for place in np.argsort(free):
        if free[place] >= best.value * (1.0 - 1e-12):
            break
        row = int(rows[place])
        sums = problem.take(rows[place : place + 1])
        found = minimise_in_polyhedron(sums, *_half_spaces(pairs, assignments[row]), best.value - float(mass[row]))
        if found is not None:
            best = Optimum(assignments[row], found[0], float(s[row]), found[1] + float(mass[row]))
    return best


def _half_spaces(pairs: Pairs, assignment: Index) -> tuple[Array, Array]:
    """``matrix @ t2 <= bound`` where ``assignment`` is the Voronoi one: ``|u_own - t|² + e_own <= |u_j - t|² + e_j`` is linear."""
    k, _ = pairs.n_atoms
    own = pairs.gate[np.arange(k), assignment][:, None, :]
    own_fixed = pairs.fixed[np.arange(k), assignment][:, None]
    matrix = 2.0 * (pairs.gate - own)
    bound = (pairs.gate**2).sum(axis=-1) + pairs.fixed - (own**2).sum(axis=-1) - own_fixed
    return matrix.reshape(-1, matrix.shape[2]), bound.reshape(-1)
