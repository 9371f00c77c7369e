"""Trust-region Newton with the exact Hessian; leaves saddles, stands singular information, respects the box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective
from moestat.solvers.base import State, Status
from moestat.solvers.certificate import RANK_TOLERANCE, LocalModel, active_set, local_model, scaled_information

Array = NDArray[np.float64]

MIN_RADIUS = 1e-10
# Within this decrement, in nats for each row, the Hessian of the last point is used once more: it has changed by less than a
# percent there. The cap is 0.3 standard errors.
CHORD = 1e-6
CHORD_CAP = 0.05
WELL_CONDITIONED = 1e-4  # smallest scaled eigenvalue for it


def chord_reach(total_weight: float) -> float:
    """Decrement (nats) within which the Hessian of the last point serves once more."""
    return min(CHORD * total_weight, CHORD_CAP)


def trust_region_step(values: Array, along: Array, radius: float) -> Array:
    """Maximiser of `Σ along_i p_i - ½ values_i p_i²` over `|p| <= radius`, for ascending `values`.

    Exact (Moré & Sorensen 1983), the hard case included: a saddle is left along the direction of most upward curvature.
    Numerically flat directions get no step unless the score has a component there.
    """
    smallest, largest = float(values[0]), max(float(values[-1]), 1e-300)
    cut = RANK_TOLERANCE * largest
    if smallest > -cut:
        p = along / np.maximum(values, cut)
        if p @ p <= radius**2:
            return p
    gap = values - min(smallest, 0.0)
    moves = gap > 1e-12 * (largest - min(smallest, 0.0))
    p = np.where(moves, along / np.where(moves, gap, 1.0), 0.0)
    stuck = np.abs(along[~moves]).max(initial=0.0) <= 1e-12 * (np.abs(along).max() + 1e-300)
    if stuck and p @ p < radius**2:
        p[0] += np.copysign(np.sqrt(radius**2 - float(p @ p)), along[0])
        return p
    return along / np.maximum(values + _shift(values, along, radius), 1e-300)


def _shift(values: Array, along: Array, radius: float) -> float:
    """`μ >= max(0, -values[0])` with `|along / (values + μ)| = radius`, by Newton on the secular equation within a bracket."""
    low = max(0.0, -float(values[0]))
    high = low + float(np.linalg.norm(along)) / radius
    mu = 0.5 * (low + high)
    for _ in range(100):
        p = along / np.maximum(values + mu, 1e-300)
        size = float(np.linalg.norm(p))
        if abs(size - radius) <= 1e-6 * radius:
            break
        low, high = (mu, high) if size > radius else (low, mu)
        slope = float(p @ (p / np.maximum(values + mu, 1e-300)))
        new = mu + (size / radius - 1.0) * size**2 / slope if slope > 0.0 else high
        mu = new if low < new < high else 0.5 * (low + high)
    return mu


def box_step(objective: Objective, theta: Array, model: LocalModel, radius: float) -> Array:
    """Trust-region step inside the box: a component that would cross a bound stops there and the others are solved again."""
    low, high = objective.bounds
    step = np.zeros_like(theta)
    free, d, values, vectors, along = model.free, model.d, model.values, model.vectors, model.along
    while free.any():
        step[free] = vectors @ trust_region_step(values, along, radius) / d
        target = theta + step
        crossing = free & ((target < low) | (target > high))
        if not crossing.any():
            break
        step[crossing] = np.clip(target, low, high)[crossing] - theta[crossing]
        free = free & ~crossing
        if free.any():
            information, d = scaled_information(model.hessian[np.ix_(free, free)], objective.raw)
            values, vectors = np.linalg.eigh(information)
            along = vectors.T @ ((model.gradient + model.hessian @ np.where(free, 0.0, step))[free] / d)
    return step


class Newton:
    """Trust-region Newton on the exact Louis Hessian, in parameters scaled by the root of the information's diagonal."""

    name = "newton"
    quadratic = True

    def init(self, objective: Objective, theta: Array) -> State:
        """Derivatives at the start; the first radius trusts changes of about 0.3 of a parameter's natural scale."""
        return self._state(theta, local_model(objective, theta), 0.3 * np.sqrt(objective.total_weight))

    def step(self, objective: Objective, state: State) -> State:
        """One accepted step; the radius shrinks until there is one."""
        model: LocalModel = state.memory["model"]
        radius: float = state.memory["radius"]
        if not model.finite:  # a finite value whose derivatives overflow: a spike of an expert without a floor
            memory = state.memory | {"status": Status.NONFINITE}
            return State(state.theta, state.value, state.remaining, stalled=True, memory=memory)
        scale = np.zeros_like(state.theta)
        scale[model.free] = model.d
        noise = 1e-10 * (abs(model.value) + 1.0)  # a gain below it may be lost in the rounding of the value
        chord = self._chord(objective, state.theta, model, radius, noise)
        if chord is not None:
            return self._state(*chord, radius)
        while radius > MIN_RADIUS:
            step = box_step(objective, state.theta, model, radius)
            gain = float(model.gradient @ step + 0.5 * step @ model.hessian @ step)
            if not gain > 0.0:  # bounds have cut the step so that the model falls along it: a shorter one is cut less
                radius = 0.25 * min(radius, float(np.linalg.norm(step * scale)) or radius)
                continue
            theta = objective.clip(state.theta + step)
            new = local_model(objective, theta)
            size = float(np.linalg.norm(step * scale))
            ratio = (new.value - model.value) / gain if new.finite else -1.0
            if (
                ratio <= 0.05 and gain <= noise and new.finite and new.value >= model.value - noise
            ):  # then the scores decide
                ratio = 1.0 if new.decrement <= model.decrement else -1.0
            if ratio > 0.05:
                if ratio > 0.75 and size > 0.8 * radius:
                    radius *= 3.0
                elif ratio < 0.25:
                    radius = 0.3 * size
                return self._state(theta, new, radius)
            radius = 0.25 * min(radius, size)
        return State(state.theta, state.value, state.remaining, stalled=True, memory=state.memory)

    @staticmethod
    def _chord(
        objective: Objective, theta: Array, model: LocalModel, radius: float, noise: float
    ) -> tuple[Array, LocalModel] | None:
        """A Newton step whose end keeps the old Hessian: near a well-conditioned maximum only the scores change.

        Kept only if the decrement falls to a tenth of what it was; None otherwise.
        """
        if (
            not model.finite
            or model.decrement > chord_reach(objective.total_weight)
            or not model.values.size
            or model.values[0] < WELL_CONDITIONED
        ):
            return None
        p = model.along / model.values
        step = np.zeros_like(theta)
        step[model.free] = model.vectors @ p / model.d
        target = theta + step
        if p @ p > radius**2 or (target < objective.bounds[0]).any() or (target > objective.bounds[1]).any():
            return None
        value, gradient = objective.gradient(target)
        if not (np.isfinite(value) and np.isfinite(gradient).all()) or value < model.value - noise:
            return None
        if not np.array_equal(~active_set(objective, target, gradient), model.free):
            return None
        new = model.moved(value, gradient)
        return (target, new) if new.decrement <= 0.1 * model.decrement else None

    @staticmethod
    def _state(theta: Array, model: LocalModel, radius: float) -> State:
        remaining = np.inf if not model.finite or model.curves_upwards else model.decrement
        return State(theta, model.value, remaining, memory={"model": model, "radius": radius})
