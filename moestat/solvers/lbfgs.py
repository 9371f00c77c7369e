"""Limited-memory BFGS with bounds (SciPy), in parameters scaled by the information's diagonal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective
from moestat.solvers.base import State
from moestat.solvers.certificate import scaled_information

Array = NDArray[np.float64]

ITERATIONS = 200  # of L-BFGS-B in one step; its memory starts afresh then


class LBFGS:
    """L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995) on the log-likelihood; one step is a run of SciPy's iteration."""

    name = "lbfgs"

    def init(self, objective: Objective, theta: Array) -> State:
        """The scales are the roots of the information's diagonal at the start."""
        return State(theta, objective.value(theta))

    def step(self, objective: Objective, state: State) -> State:
        """Run SciPy's L-BFGS-B from the current point, with scales renewed there."""
        from scipy.optimize import minimize

        d = scaled_information(objective.derivatives(state.theta)[2], objective.raw)[1]

        def negative(scaled: Array) -> tuple[float, Array]:
            value, gradient = objective.gradient(scaled / d)
            return (-value, -gradient / d) if np.isfinite(value) else (1e300, np.zeros_like(d))

        result = minimize(
            negative,
            state.theta * d,
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(*(objective.bounds * d), strict=True)),
            options={"maxiter": ITERATIONS, "maxcor": 30, "ftol": 0.0, "gtol": 1e-9, "maxls": 40},
        )
        theta = objective.clip(result.x / d)
        value = -float(result.fun)
        gain = value - state.value
        if gain < 0.0:
            theta, value = state.theta, state.value
        small = gain <= 1e-13 * (abs(value) + 1.0)
        return State(theta, value, remaining=0.0, stalled=small)
