r"""The infimum over gauge translations: the weighted median for the mass, a convex problem for the slopes.

For a fixed assignment of atoms to cells every loss is, as a function of the translation ``t`` of the gate's slopes, a sum of
powers of distances ``P(t) = Σ_g c_g (|t - μ_g|² + e_g)^{p_g/2} + const`` with ``p_g >= 1``: convex, with a kink at ``μ_g`` where
``e_g = 0`` and ``p_g = 1``. The functions here minimise many such sums at once, one for each candidate assignment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_STEPS_ON_LINE = 120
_NEWTON_STEPS = 60
_TINY = 1e-280
# A distance below this share of the largest one counts as zero.
_KINK = 1e-13


@dataclass(frozen=True, eq=False)
class RadialSum:
    """Sums of powers of distances, one for each of A assignments.

    Attributes
    ----------
    factor, offset, power : ndarray (A,G)
        ``c_g >= 0``, ``e_g >= 0``, ``p_g >= 1``.
    centre : ndarray (A,G,d)
        ``μ_g``.
    constant : ndarray (A,)
    """

    factor: Array
    centre: Array
    offset: Array
    power: Array
    constant: Array

    def take(self, rows: NDArray[np.int64]) -> RadialSum:
        """The sums of some assignments."""
        return RadialSum(self.factor[rows], self.centre[rows], self.offset[rows], self.power[rows], self.constant[rows])

    def value(self, t: Array) -> Array:
        """Values (A,) at translations (A,d)."""
        radius = ((t[:, None, :] - self.centre) ** 2).sum(axis=-1) + self.offset
        total: Array = (self.factor * radius ** (0.5 * self.power)).sum(axis=1) + self.constant
        return total

    def values_on_line(self, points: Array) -> Array:
        """Values (A,C) of one-dimensional sums at C points each."""
        radius = (points[:, :, None] - self.centre[:, None, :, 0]) ** 2 + self.offset[:, None, :]
        powers = radius ** (0.5 * self.power[:, None, :])
        total: Array = (self.factor[:, None, :] * powers).sum(axis=2) + self.constant[:, None]
        return total

    def lower_bound(self) -> Array:
        """A lower bound (A,): every distance at its own centre."""
        total: Array = (self.factor * self.offset ** (0.5 * self.power)).sum(axis=1) + self.constant
        return total

    def slopes(self, t: Array) -> tuple[Array, Array]:
        """Multipliers (A,G) of ``t - μ_g`` in the gradient, and those of ``(t - μ_g)(t - μ_g)'`` in the Hessian."""
        radius = ((t[:, None, :] - self.centre) ** 2).sum(axis=-1) + self.offset
        safe = np.maximum(radius, _TINY)
        first = np.where(radius > _TINY, self.factor * self.power * safe ** (0.5 * self.power - 1.0), 0.0)
        return first, np.where(radius > _TINY, first * (self.power - 2.0) / safe, 0.0)


def weighted_median(ratio: Array, weight: Array) -> Array:
    """Minimiser ``s`` of ``Σ_j weight_j |ratio_j - s|`` in every row, the largest one where there are several.

    With ``ratio_j = W_j / w*_j`` and ``weight_j = w*_j`` this is ``argmin_s Σ_j |W_j - s w*_j|``, ``s = exp(t1)``.

    Parameters
    ----------
    ratio : ndarray (A,J)
    weight : ndarray (A,J)
        Non-negative, not all zero in any row.
    """
    order = np.argsort(ratio, axis=1, kind="stable")
    ordered = np.take_along_axis(ratio, order, axis=1)
    mass = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
    # "More than half", up to rounding: at exactly half the next ratio is a minimiser, too.
    place = np.argmax(mass > 0.5 * mass[:, -1:] * (1.0 + 1e-12), axis=1)
    chosen: Array = np.take_along_axis(ordered, place[:, None], axis=1)[:, 0]
    return chosen


def minimise_on_line(problem: RadialSum, low: Array, high: Array) -> Array:
    """Minimisers (A,1) of one-dimensional sums over the intervals ``[low, high]`` (A,), by safeguarded Newton."""
    centre = problem.centre[:, :, 0]
    active = problem.factor > 0.0
    left = np.where(active, centre, np.inf).min(axis=1)
    right = np.where(active, centre, -np.inf).max(axis=1)
    empty = ~np.isfinite(left)
    left, right = np.where(empty, 0.0, left), np.where(empty, 0.0, right)
    lower, upper = np.clip(left, low, high), np.clip(right, low, high)
    ends = np.stack([lower, upper], axis=1)
    # The value is flat at the minimum: this leaves it exact to rounding.
    accuracy = 1e-14 * (upper - lower) + 4e-16 * np.maximum(np.abs(lower), np.abs(upper))
    t, last = 0.5 * (lower + upper), upper - lower
    for _ in range(_STEPS_ON_LINE):
        first, second = problem.slopes(t[:, None])
        gap = t[:, None] - centre
        gradient = (first * gap).sum(axis=1)
        curvature = (first + second * gap**2).sum(axis=1)
        upper, lower = np.where(gradient > 0.0, t, upper), np.where(gradient > 0.0, lower, t)
        step = -gradient / np.maximum(curvature, 1e-16 * np.abs(gradient) / np.maximum(last, _TINY) + _TINY)
        # Newton where it stays inside and at least halves the step, else bisection.
        newton = (np.abs(step) < 0.5 * last) & (t + step > lower) & (t + step < upper)
        step = np.where(newton, step, 0.5 * (lower + upper) - t)
        t, last = t + step, np.abs(step)
        if np.all(last <= accuracy):
            break
    # A kink is met exactly only at its centre: the centres compete with the bisected point.
    inside = np.where(active, np.clip(centre, low[:, None], high[:, None]), ends[:, :1])
    candidates = np.concatenate([t[:, None], ends, inside], axis=1)
    values = problem.values_on_line(candidates)
    best = np.argmin(values, axis=1)
    return np.take_along_axis(candidates, best[:, None], axis=1)


def minimise_in_polyhedron(problem: RadialSum, matrix: Array, bound: Array, worst: float) -> tuple[Array, float] | None:
    """Minimiser and least value of one sum over ``matrix @ t <= bound``; None where it is empty or no better than ``worst``.

    The minimiser over a polyhedron lies on one of the faces that the free minimiser violates (else a step towards that one
    would be feasible and better), and on a face the sum is a radial sum again, of one dimension less.
    """
    real = np.any(np.abs(matrix) > 1e-14, axis=1)
    if np.any(bound[~real] < -1e-12):
        return None
    matrix, bound = matrix[real], bound[real]
    t = minimise(problem)[0]
    value = float(problem.value(t[None, :])[0])
    violated = np.flatnonzero(matrix @ t > bound + 1e-12 * (1.0 + np.abs(bound)))
    if violated.size == 0 or value >= worst:
        return (t, value) if value < worst else None
    best: tuple[Array, float] | None = None
    for row in violated:
        normal = matrix[row] / np.linalg.norm(matrix[row])
        foot = normal * (bound[row] / np.linalg.norm(matrix[row]))
        basis = np.linalg.svd(normal[None, :])[2][1:].T
        height = (problem.centre - foot) @ normal
        face = RadialSum(
            problem.factor, (problem.centre - foot) @ basis, problem.offset + height**2, problem.power, problem.constant
        )
        found = minimise_in_polyhedron(face, matrix @ basis, bound - matrix @ foot, worst)
        if found is not None:
            best, worst = (foot + basis @ found[0], found[1]), found[1]
    return best


def minimise(problem: RadialSum) -> Array:
    """Minimisers (A,d) of the sums over all translations: the best kink, or damped Newton from there."""
    n, _, d = problem.centre.shape
    if d == 0:
        return np.zeros((n, 0))
    if d == 1:
        return minimise_on_line(problem, np.full(n, -np.inf), np.full(n, np.inf))
    values = np.stack([problem.value(problem.centre[:, g]) for g in range(problem.centre.shape[1])], axis=1)
    values = np.where(problem.factor > 0.0, values, np.inf)
    best = np.argmin(values, axis=1)
    t: Array = problem.centre[np.arange(n), best].copy()
    todo = np.flatnonzero(np.any(problem.factor > 0.0, axis=1))
    for _ in range(_NEWTON_STEPS):
        if todo.size == 0:
            break
        step, decrease = _newton_step(problem.take(todo), t[todo])
        moved = _backtrack(problem.take(todo), t[todo], step)
        t[todo] = moved
        todo = todo[decrease]
    return t


def _newton_step(problem: RadialSum, t: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Descent steps (A,d), and where a step is still worth making."""
    gap = t[:, None, :] - problem.centre
    spread = np.abs(gap).max(axis=(1, 2))
    # At a kink the subgradient is a ball of radius c: what it does not absorb is the descent direction (Vardi-Zhang).
    kink = (gap**2).sum(axis=-1) + problem.offset <= (_KINK * spread[:, None]) ** 2
    first, second = (np.where(kink, 0.0, slope) for slope in problem.slopes(t))
    gradient = np.einsum("ag,agd->ad", first, gap)
    size = np.maximum(np.linalg.norm(gradient, axis=1), _TINY)
    absorbed = np.where(kink & (problem.power == 1.0), problem.factor, 0.0).sum(axis=1)
    gradient = gradient * np.maximum(1.0 - np.minimum(absorbed / size, 1.0), 0.0)[:, None]
    identity = np.eye(t.shape[1])
    hessian = np.einsum("ag,agd,age->ade", second, gap, gap) + first.sum(axis=1)[:, None, None] * identity
    trace = np.trace(hessian, axis1=1, axis2=2)
    # Out of a kink only the steepest direction surely descends; elsewhere Newton's, with a ridge against a flat direction.
    hessian = np.where((absorbed > 0.0)[:, None, None], trace[:, None, None] * identity, hessian)
    ridge = 1e-12 * trace + _TINY
    step = -np.linalg.solve(hessian + ridge[:, None, None] * identity, gradient[:, :, None])[:, :, 0]
    gain = -(step * gradient).sum(axis=1)
    return step, gain > 1e-16 * np.maximum(problem.value(t), _TINY)


def _backtrack(problem: RadialSum, t: Array, step: Array) -> Array:
    """Take the step, halved until the value does not rise."""
    start = problem.value(t)
    length = np.ones(t.shape[0])
    for _ in range(50):
        rises = problem.value(t + length[:, None] * step) > start
        if not rises.any():
            break
        length = np.where(rises, 0.5 * length, length)
    better = problem.value(t + length[:, None] * step) <= start
    moved: Array = np.where(better[:, None], t + length[:, None] * step, t)
    return moved
