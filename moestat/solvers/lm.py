"""Levenberg–Marquardt with variable projection, for least squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moestat.linalg import solve_psd
from moestat.solvers.base import State, Status
from moestat.solvers.certificate import LocalModel, active_set, diagonalised
from moestat.solvers.newton import MIN_RADIUS, box_step

if TYPE_CHECKING:
    from moestat.least_squares import GaussNewton, LeastSquaresObjective

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class LM:
    """Levenberg–Marquardt in the form of a trust region (Moré 1978) on the variable projection functional (Golub & Pereyra 1973).

    Parameters in which the regression function is linear (coefficients of linear experts, output weights) are solved for exactly, the
    others move along the Gauss–Newton step of the residuals from which the linear ones are projected out, in the approximation of
    Kaufman (1975): `S = A_αα - A_αβ A_ββ⁻¹ A_βα` of the Gauss–Newton information A. A box is respected by both.
    """

    name = "lm"

    def init(self, objective: Any, theta: Array) -> State:
        """The linear parameters solved for at the start.

        Raises
        ------
        ValueError
            If the objective is a likelihood.
        """
        if not hasattr(objective, "gauss_newton"):
            raise ValueError(
                "the solver 'lm' is for sums of squares; for a likelihood use 'auto', 'newton', 'em' or 'lbfgs'."
            )
        theta = solve_linear(objective, theta)
        return self._state(
            objective, theta, objective.gauss_newton(theta), 0.3 * np.sqrt(objective.total_weight), np.inf
        )

    def step(self, objective: Any, state: State) -> State:
        """One accepted step; the radius shrinks until there is one."""
        at: GaussNewton = state.memory["at"]
        radius: float = state.memory["radius"]
        if not np.isfinite(state.remaining):
            return State(state.theta, state.value, stalled=True, memory=state.memory | {"status": Status.NONFINITE})
        model = projected(objective, state.theta, at)
        noise = 1e-10 * (abs(at.value) + 1.0)  # a gain below it is lost in the rounding of the value
        while radius > MIN_RADIUS:
            step = box_step(objective, state.theta, model, radius) if model.free.any() else np.zeros_like(state.theta)
            gain = float(model.gradient @ step + 0.5 * step @ model.hessian @ step)
            theta = solve_linear(objective, objective.clip(state.theta + step))
            new = objective.gauss_newton(theta)
            reached = self._state(objective, theta, new, radius, new.value - at.value)
            if gain <= noise:  # then the scores decide
                better = new.value >= at.value - noise and reached.remaining < 0.5 * state.remaining
                return reached if better else self._stalled(state)
            size = float(np.linalg.norm(step[model.free] * model.d))
            ratio = (new.value - at.value) / gain if np.isfinite(reached.remaining) else -1.0
            if ratio > 0.05:
                if ratio > 0.75 and size > 0.8 * radius:
                    radius *= 3.0
                elif ratio < 0.25:
                    radius = 0.3 * size
                return self._state(objective, theta, new, radius, new.value - at.value)
            radius = 0.25 * min(radius, size)
        return self._stalled(state)

    @staticmethod
    def _stalled(state: State) -> State:
        memory = state.memory | {"gain": 0.0}
        return State(state.theta, state.value, state.remaining, stalled=True, memory=memory)

    @staticmethod
    def _state(objective: LeastSquaresObjective, theta: Array, at: GaussNewton, radius: float, gain: float) -> State:
        """A state; what remains is the decrement of the Gauss–Newton model."""
        finite = np.isfinite(at.value) and np.isfinite(at.gradient).all() and np.isfinite(at.information).all()
        remaining = np.inf
        if finite:
            remaining = diagonalised(objective, theta, at.value, at.gradient, -at.information).decrement
        return State(theta, at.value, remaining, memory={"at": at, "radius": radius, "gain": max(gain, 0.0)})


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


def projected(objective: LeastSquaresObjective, theta: Array, at: GaussNewton) -> LocalModel:
    """The quadratic model in the parameters that are not linear, the linear ones that may move always at their best."""
    free = ~active_set(objective, theta, at.gradient)
    moving, solved = np.flatnonzero(free & ~objective.linear), np.flatnonzero(free & objective.linear)
    gradient, hessian = at.gradient.copy(), np.zeros_like(at.information)
    block = at.information[np.ix_(moving, moving)]
    if solved.size:
        cross = at.information[np.ix_(solved, moving)]
        right = np.column_stack([cross, at.gradient[solved]])
        solution = solve_psd(at.information[np.ix_(solved, solved)], right)
        block = block - cross.T @ solution[:, :-1]
        gradient[moving] -= cross.T @ solution[:, -1]
    hessian[np.ix_(moving, moving)] = -0.5 * (block + block.T)
    return diagonalised(objective, theta, at.value, gradient, hessian, ~objective.linear)
