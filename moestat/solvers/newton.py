"""Trust-region Newton with the exact Hessian; leaves saddles, stands singular information, respects the box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective
from moestat.solvers.base import State
from moestat.solvers.certificate import RANK_TOLERANCE, active_set, scaled_information

Array = NDArray[np.float64]

MIN_RADIUS = 1e-10


def trust_region_step(information: Array, score: Array, radius: float) -> tuple[Array, float, float]:
    """Maximiser of `scoreᵀp - ½ pᵀ information p` over `|p| <= radius`, its gain, and the smallest eigenvalue.

    Exact, by the eigenvalue decomposition (Moré & Sorensen 1983), the hard case included: a saddle is left along the
    direction of most upward curvature.
    """
    values, vectors = np.linalg.eigh(information)
    along = vectors.T @ score
    smallest = float(values[0])
    cut = RANK_TOLERANCE * max(float(values[-1]), 1e-300)
    if smallest > -cut:
        # flat directions get no step unless the score has a component there
        safe = np.maximum(values, cut)
        p = along / safe
        if np.linalg.norm(p) <= radius:
            return vectors @ p, float(along @ p - 0.5 * p @ (values * p)), smallest
    shift = max(-smallest, 0.0)
    gap = values - smallest if smallest < 0.0 else values
    moves = gap > 1e-12 * max(float(values[-1]) + shift, 1e-300)
    p = np.where(moves, along / np.where(moves, gap, 1.0), 0.0)
    hard = np.linalg.norm(p) < radius and np.abs(along[~moves]).max(initial=0.0) <= 1e-12 * (
        np.abs(along).max() + 1e-300
    )
    if hard:
        missing = np.sqrt(max(radius**2 - float(p @ p), 0.0))
        p[0] += missing if along[0] >= 0.0 else -missing
    else:
        p = along / (values + _shift(values, along, radius))
    return vectors @ p, float(along @ p - 0.5 * p @ (values * p)), smallest


def _shift(values: Array, along: Array, radius: float) -> float:
    """`μ >= max(0, -values[0])` with `|along / (values + μ)| = radius`, by Newton on the secular equation within a bracket."""
    low = max(0.0, -float(values[0]))
    high = low + float(np.linalg.norm(along)) / radius
    mu = 0.5 * (low + high)
    for _ in range(100):
        p = along / (values + mu)
        size = float(np.linalg.norm(p))
        if abs(size - radius) <= 1e-6 * radius:
            break
        low, high = (mu, high) if size > radius else (low, mu)
        slope = float(p @ (p / (values + mu)))
        new = mu + (size / radius - 1.0) * size**2 / slope if slope > 0.0 else high
        mu = new if low < new < high else 0.5 * (low + high)
    return mu


def box_step(
    objective: Objective, theta: Array, gradient: Array, hessian: Array, radius: float
) -> tuple[Array, float, float]:
    """Trust-region step inside the box: a component that would cross a bound stops there and the others are solved again."""
    low, high = objective.bounds
    free = ~active_set(objective, theta, gradient)
    step = np.zeros_like(theta)
    smallest = np.inf
    for _ in range(len(theta) + 1):
        if not free.any():
            break
        information, d = scaled_information(hessian[np.ix_(free, free)])
        score = (gradient + hessian @ np.where(free, 0.0, step))[free] / d
        p, _, smallest = trust_region_step(information, score, radius)
        step[free] = p / d
        target = theta + step
        crossing = free & ((target < low) | (target > high))
        if not crossing.any():
            break
        step[crossing] = np.clip(target, low, high)[crossing] - theta[crossing]
        free = free & ~crossing
    gain = float(gradient @ step + 0.5 * step @ hessian @ step)
    return step, gain, smallest


class Newton:
    """Trust-region Newton on the exact Louis Hessian, in parameters scaled by the root of the information's diagonal."""

    name = "newton"
    quadratic = True

    def init(self, objective: Objective, theta: Array) -> State:
        """Derivatives at the start; the first radius trusts changes of about 0.3 of a parameter's natural scale."""
        return self._state(objective, theta, objective.derivatives(theta), 0.3 * np.sqrt(objective.total_weight))

    def step(self, objective: Objective, state: State) -> State:
        """One accepted step, or a smaller radius."""
        value, gradient, hessian = state.memory["derivatives"]
        radius = state.memory["radius"]
        while radius > MIN_RADIUS:
            step, gain, _ = box_step(objective, state.theta, gradient, hessian, radius)
            if not gain > 0.0:
                break
            theta = objective.clip(state.theta + step)
            new = objective.derivatives(theta)
            size = self._size(step, hessian)
            finite = np.isfinite(new[0]) and np.isfinite(new[2]).all()
            ratio = (new[0] - value) / gain if finite else -1.0
            rounding = 1e-13 * (abs(value) + 1.0)
            if finite and gain <= 1e3 * rounding:
                # the change is lost in rounding: the scores must decide
                better = self._remaining(objective, theta, new) <= state.remaining and new[0] >= value - 1e3 * rounding
                ratio = 1.0 if better else -1.0
            if ratio > 0.05:
                if ratio > 0.75 and size > 0.8 * radius:
                    radius *= 3.0
                elif ratio < 0.25:
                    radius = 0.3 * size
                return self._state(objective, theta, new, radius)
            radius = min(0.25 * radius, 0.25 * size)
        return State(state.theta, state.value, state.remaining, stalled=True, memory=state.memory)

    @staticmethod
    def _size(step: Array, hessian: Array) -> float:
        return float(np.linalg.norm(step * scaled_information(hessian)[1]))

    @staticmethod
    def _remaining(objective: Objective, theta: Array, derivatives: tuple[float, Array, Array]) -> float:
        """Newton decrement on the free parameters; infinite at a saddle."""
        _, gradient, hessian = derivatives
        free = ~active_set(objective, theta, gradient)
        if not free.any():
            return 0.0
        information, d = scaled_information(hessian[np.ix_(free, free)])
        values, vectors = np.linalg.eigh(information)
        cut = RANK_TOLERANCE * max(float(values[-1]), 1e-300)
        if values[0] < -max(100.0 * cut, 1e-8):
            return np.inf
        along = vectors.T @ (gradient[free] / d)
        return 0.5 * float(np.sum(along**2 / np.maximum(np.abs(values), cut)))

    def _state(
        self, objective: Objective, theta: Array, derivatives: tuple[float, Array, Array], radius: float
    ) -> State:
        finite = np.isfinite(derivatives[0]) and np.isfinite(derivatives[2]).all()
        remaining = self._remaining(objective, theta, derivatives) if finite else np.inf
        return State(theta, derivatives[0], remaining, memory={"derivatives": derivatives, "radius": radius})
