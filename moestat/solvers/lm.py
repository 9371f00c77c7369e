"""Variable projection for least squares: Levenberg–Marquardt, and Newton on what is left after the linear parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moestat.linalg import solve_psd
from moestat.solvers.base import State, Status
from moestat.solvers.certificate import LocalModel, active_set, diagonalised
from moestat.solvers.newton import MIN_RADIUS, box_step

if TYPE_CHECKING:
    from moestat.least_squares import LeastSquaresObjective

Array = NDArray[np.float64]

# Directions of no curvature and no slope but rounding, relative to the largest: a step along them would be noise.
FLAT, FAINT = 1e-13, 1e-9


class LM:
    """Levenberg–Marquardt in the form of a trust region (Moré 1978) on the variable projection functional (Golub & Pereyra 1973).

    Parameters in which the regression function is linear (coefficients of linear experts, output weights) are solved for exactly, the
    others move along the Gauss–Newton step of the residuals from which the linear ones are projected out, in the approximation of
    Kaufman (1975): `S = A_αα - A_αβ A_ββ⁻¹ A_βα` of the Gauss–Newton information A. A box is respected by both.
    """

    name = "lm"
    fast = 1e-2  # nats a row: while the sum of squares falls by two percents a step, first derivatives do

    @staticmethod
    def model(objective: LeastSquaresObjective, theta: Array) -> LocalModel:
        """The quadratic model at a point: here that of Gauss and Newton."""
        at = objective.gauss_newton(theta)
        return diagonalised(objective, theta, at.value, at.gradient, -at.information)

    def init(self, objective: Any, theta: Array) -> State:
        """The linear parameters solved for at the start.

        Raises
        ------
        ValueError
            If the objective is a likelihood.
        """
        if not hasattr(objective, "gauss_newton"):
            raise ValueError(
                f"the solver {self.name!r} is for sums of squares; for a likelihood use 'auto', 'newton', 'em' or 'lbfgs'."
            )
        theta = solve_linear(objective, theta)
        return self._state(theta, self.model(objective, theta), 0.3 * np.sqrt(objective.total_weight), np.inf)

    def step(self, objective: Any, state: State) -> State:
        """One accepted step; the radius shrinks until there is one."""
        at: LocalModel = state.memory["local"]
        radius: float = state.memory["radius"]
        if not at.finite:
            return State(state.theta, state.value, stalled=True, memory=state.memory | {"status": Status.NONFINITE})
        reduced = projected(objective, state.theta, at)
        noise = 1e-13 * (abs(at.value) + 1.0)  # a gain below it is lost in the rounding of the value
        while radius > MIN_RADIUS:
            step = np.zeros_like(state.theta)
            if reduced.free.any():
                step = box_step(objective, state.theta, reduced, radius)
            gain = float(reduced.gradient @ step + 0.5 * step @ reduced.hessian @ step)
            theta = solve_linear(objective, objective.clip(state.theta + step))
            new = self.model(objective, theta)
            risen = new.value - at.value
            size = float(np.linalg.norm(step[reduced.free] * reduced.d))
            ratio = risen / gain if new.finite and gain > 0.0 else -1.0
            if ratio <= 0.05 and gain <= noise:  # then the scores decide
                if new.finite and risen >= -noise and new.decrement < 0.5 * at.decrement:
                    return self._state(theta, new, radius, risen)
                break
            if ratio > 0.05:
                if ratio > 0.75 and size > 0.8 * radius:
                    radius *= 3.0
                elif ratio < 0.25:
                    radius = 0.3 * size
                return self._state(theta, new, radius, risen)
            radius = 0.25 * min(radius, size)
        return State(state.theta, state.value, state.remaining, stalled=True, memory=state.memory | {"gain": 0.0})

    @staticmethod
    def _state(theta: Array, at: LocalModel, radius: float, gain: float) -> State:
        """A state; what remains is the decrement of its model."""
        remaining = np.inf if not at.finite or at.curves_upwards else at.decrement
        return State(theta, at.value, remaining, memory={"local": at, "radius": radius, "gain": max(gain, 0.0)})


class ProjectedNewton(LM):
    """Trust-region Newton on the variable projection functional, with its exact Hessian `H_αα - H_αβ H_ββ⁻¹ H_βα`.

    Where weights vanish as coefficients grow (a ridge of sigmoid gates) the linear parameters follow at once, which plain Newton
    steps cannot.
    """

    name = "projected_newton"
    quadratic = True

    @staticmethod
    def model(objective: LeastSquaresObjective, theta: Array) -> LocalModel:
        """The quadratic model of the exact derivatives."""
        return diagonalised(objective, theta, *objective.derivatives(theta))

    @staticmethod
    def _state(theta: Array, at: LocalModel, radius: float, gain: float) -> State:
        state = LM._state(theta, at, radius, gain)
        state.memory["model"] = at
        return state


def solve_linear(objective: LeastSquaresObjective, theta: Array) -> Array:
    """The point with the best values of the linear parameters, the others as they are; collinear ones get the least change."""
    linear = objective.linear
    if not linear.any():
        return theta
    at = objective.gauss_newton(theta, linear=True)
    if not (np.isfinite(at.gradient).all() and np.isfinite(at.information).all()):
        return theta
    block = at.information[np.ix_(linear, linear)]
    target = theta.copy()
    target[linear] += solve_psd(block, at.gradient[linear, None])[:, 0]
    if np.array_equal(objective.clip(target), target):
        return target
    model = diagonalised(objective, theta, at.value, at.gradient, -at.information, linear)
    return objective.clip(theta + box_step(objective, theta, model, np.inf)) if model.free.any() else theta


def projected(objective: LeastSquaresObjective, theta: Array, at: LocalModel) -> LocalModel:
    """The quadratic model in the parameters that are not linear, the linear ones that may move always at their best."""
    free = ~active_set(objective, theta, at.gradient)
    moving, solved = np.flatnonzero(free & ~objective.linear), np.flatnonzero(free & objective.linear)
    gradient, hessian = at.gradient.copy(), np.zeros_like(at.hessian)
    block = -at.hessian[np.ix_(moving, moving)]
    if solved.size:
        cross = -at.hessian[np.ix_(solved, moving)]
        solution = solve_psd(-at.hessian[np.ix_(solved, solved)], np.column_stack([cross, at.gradient[solved]]))
        block = block - cross.T @ solution[:, :-1]
        gradient[moving] -= cross.T @ solution[:, -1]
    hessian[np.ix_(moving, moving)] = -0.5 * (block + block.T)
    model = diagonalised(objective, theta, at.value, gradient, hessian, ~objective.linear)
    slopes, curvatures = np.abs(model.along), np.abs(model.values)
    nothing = (curvatures < FLAT * curvatures.max(initial=0.0)) & (slopes < FAINT * slopes.max(initial=0.0))
    return replace(model, along=np.where(nothing, 0.0, model.along))
