"""Quadratic models of a stack of log-likelihoods, diagonalised on the free parameters; trust-region steps inside boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moestat.batched.arrays import Stacked, choose, finite_rows, scatter, transposed
from moestat.batched.objective import Derivatives, derivatives
from moestat.batched.problem import Problem
from moestat.solvers.certificate import RANK_TOLERANCE

__all__ = ["Model", "box_step", "model_at"]

Array = Any


@dataclass(frozen=True)
class Model(Stacked):
    """See `moestat.solvers.certificate.LocalModel`, here for every problem of a stack.

    Parameters that are not `free` have eigenvalue one and no score, so that they take no part.

    Attributes
    ----------
    value, gradient, hessian : (B,), (B, P), (B, P, P)
    free : (B, P) of bool
        Not at a bound with a score that points out of the box.
    d, values, vectors, along : (B, P), (B, P), (B, P, P), (B, P)
        Roots of the information's diagonal; spectrum of the information scaled by them; the score in its eigenvectors.
    finite : (B,) of bool
    """

    value: Array
    gradient: Array
    hessian: Array
    free: Array
    d: Array
    values: Array
    vectors: Array
    along: Array
    finite: Array

    def cut(self, xp: Any) -> Array:
        """Eigenvalues below it are numerically zero, `(B,)`."""
        return RANK_TOLERANCE * xp.clip(self.values[:, -1], 1e-300, None)

    def decrement(self, xp: Any) -> Array:
        """Newton decrements `½ gᵀ|H|⁻¹g` in nats, `(B,)`."""
        size = xp.abs(self.values)
        cut = self.cut(xp)[:, None]
        found = 0.5 * xp.sum(self.along**2 / xp.where(size > cut, size, cut), axis=-1)
        return xp.where(self.finite, found, xp.inf)

    def upwards(self, xp: Any) -> Array:
        """Whether the likelihood curves upwards in some direction by more than rounding, `(B,)`."""
        return self.values[:, 0] < -xp.clip(100.0 * self.cut(xp), 1e-8, None)

    def certified(self, xp: Any, tol: float) -> Array:
        """Whether the decrement is below `tol` and nothing curves upwards, `(B,)`."""
        return self.finite & (self.decrement(xp) <= tol) & ~self.upwards(xp)


def model_at(xp: Any, problem: Problem, theta: Array) -> Model:
    """The models at points `(B, P)`."""
    found = derivatives(xp, problem, theta)
    finite = xp.isfinite(found.value) & finite_rows(xp, found.gradient) & finite_rows(xp, found.hessian)
    sound = found.map(lambda value: choose(xp, finite, value, xp.zeros_like(value)))
    outwards = ((theta <= problem.low) & (sound.gradient <= 0.0)) | ((theta >= problem.high) & (sound.gradient >= 0.0))
    return diagonalised(xp, problem, sound, found.value, ~outwards, sound.gradient, finite)


def diagonalised(
    xp: Any, problem: Problem, at: Derivatives, value: Array, free: Array, gradient: Array, finite: Array
) -> Model:
    """The model on the `free` parameters, with the score `gradient` there."""
    diagonal = xp.where(free, xp.abs(xp.linalg.diagonal(at.hessian)), 0.0)
    largest = xp.clip(xp.max(diagonal, axis=-1, keepdims=True), 1e-300, None)
    d = xp.sqrt(xp.where(diagonal > (1e-40 if problem.frame.raw else 1e-14) * largest, diagonal, largest))
    both = free[:, :, None] & free[:, None, :]
    eye = xp.eye(d.shape[-1], dtype=d.dtype, device=d.device)
    information = xp.where(both, -at.hessian / d[:, :, None] / d[:, None, :], eye)
    score = xp.where(free, gradient / d, 0.0)
    finite = finite & finite_rows(xp, information) & finite_rows(xp, score)  # entries may be too far apart to be scaled
    values, vectors = xp.linalg.eigh(choose(xp, finite, information, xp.zeros_like(information) + eye))
    along = xp.matmul(transposed(vectors), choose(xp, finite, score, xp.zeros_like(score))[:, :, None])[:, :, 0]
    return Model(value, at.gradient, at.hessian, free, d, values, vectors, along, finite)


def trust_region_step(xp: Any, values: Array, along: Array, radius: Array) -> Array:
    """Maximisers of `Σ along_i p_i - ½ values_i p_i²` over `|p| <= radius`, for ascending `values (B, P)`; exact, the hard case included.

    See `moestat.solvers.newton.trust_region_step`.
    """
    smallest, largest = values[:, 0], xp.clip(values[:, -1], 1e-300, None)
    cut = RANK_TOLERANCE * largest
    newton = along / xp.where(values > cut[:, None], values, cut[:, None])
    inside = (smallest > -cut) & (xp.sum(newton**2, axis=-1) <= radius**2)
    lowest = xp.clip(smallest, None, 0.0)
    gap = values - lowest[:, None]
    moves = gap > 1e-12 * (largest - lowest)[:, None]
    p = xp.where(moves, along / xp.where(moves, gap, 1.0), 0.0)
    size = xp.abs(along)
    stuck = xp.max(xp.where(moves, 0.0, size), axis=-1) <= 1e-12 * (xp.max(size, axis=-1) + 1e-300)
    left = radius**2 - xp.sum(p**2, axis=-1)
    hard = ~inside & stuck & (left > 0.0)
    upwards = 1.0 - 2.0 * xp.astype(along[:, 0] < 0.0, along.dtype)
    jump = upwards * xp.sqrt(xp.where(hard, left, 0.0))
    p = xp.concat([p[:, :1] + jump[:, None], p[:, 1:]], axis=1)
    shifted = values + _shift(xp, values, along, radius, inside | hard)[:, None]
    regular = along / xp.clip(shifted, 1e-300, None)
    return choose(xp, inside, newton, choose(xp, hard, p, regular))


def _shift(xp: Any, values: Array, along: Array, radius: Array, done: Array) -> Array:
    """`μ >= max(0, -values[0])` with `|along / (values + μ)| = radius` where not `done`: Newton on the secular equation in a bracket."""
    low = xp.clip(-values[:, 0], 0.0, None)
    high = low + xp.sqrt(xp.sum(along**2, axis=-1)) / radius
    mu = 0.5 * (low + high)
    for _ in range(100):
        shifted = xp.clip(values + mu[:, None], 1e-300, None)
        p = along / shifted
        size = xp.sqrt(xp.sum(p**2, axis=-1))
        done = done | (xp.abs(size - radius) <= 1e-6 * radius)
        if bool(xp.all(done)):
            break
        low, high = xp.where(size > radius, mu, low), xp.where(size > radius, high, mu)
        slope = xp.sum(p * p / shifted, axis=-1)
        new = xp.where(slope > 0.0, mu + (size / radius - 1.0) * size**2 / xp.where(slope > 0.0, slope, 1.0), high)
        new = xp.where((low < new) & (new < high), new, 0.5 * (low + high))
        mu = xp.where(done, mu, new)
    return mu


def box_step(xp: Any, problem: Problem, theta: Array, model: Model, radius: Array) -> Array:
    """Trust-region steps inside the boxes: components that would cross a bound stop there and the others are solved again."""
    step = _free_step(xp, model, radius)
    crossing = _crossing(xp, problem, theta, model.free, step)
    index = xp.nonzero(xp.any(crossing, axis=-1))[0]
    if not index.shape[0]:
        return step
    part, start, at, reach = (
        problem.take(xp, index),
        xp.take(theta, index, axis=0),
        model.take(xp, index),
        xp.take(radius, index),
    )
    mine, crossing = xp.take(step, index, axis=0), xp.take(crossing, index, axis=0)
    fixed = xp.zeros_like(mine)
    while bool(xp.any(crossing)):
        fixed = xp.where(crossing, part.clip(xp, start + mine) - start, fixed)
        free = at.free & ~crossing
        gradient = at.gradient + xp.matmul(at.hessian, fixed[:, :, None])[:, :, 0]
        whole = Derivatives(at.value, at.gradient, at.hessian)
        at = diagonalised(xp, part, whole, at.value, free, gradient, at.finite)
        mine = fixed + _free_step(xp, at, reach)
        crossing = _crossing(xp, part, start, at.free, mine)
    return scatter(xp, step, index, mine)


def _free_step(xp: Any, model: Model, radius: Array) -> Array:
    p = trust_region_step(xp, model.values, model.along, radius)
    return xp.where(model.free, xp.matmul(model.vectors, p[:, :, None])[:, :, 0] / model.d, 0.0)


def _crossing(xp: Any, problem: Problem, theta: Array, free: Array, step: Array) -> Array:
    target = theta + step
    return free & ((target < problem.low) | (target > problem.high))
