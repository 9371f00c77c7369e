"""SQUAREM: extrapolated EM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective
from moestat.solvers.base import State
from moestat.solvers.em import EM, aitken, ascend

Array = NDArray[np.float64]


class SQUAREM(EM):
    """Squared extrapolation of two EM maps (Varadhan & Roland 2008, scheme S3), kept only where it raises the likelihood."""

    name = "squarem"

    def step(self, objective: Objective, state: State) -> State:
        """Two EM maps, the extrapolation, and one EM map that stabilises it."""
        theta0, at0 = state.theta, state.memory["pass"]
        theta1, at1, moved = ascend(objective, theta0, at0)
        theta2, at2, moved_again = ascend(objective, theta1, at1)
        r, v = theta1 - theta0, (theta2 - theta1) - (theta1 - theta0)
        size = float(np.linalg.norm(v))
        best, at = theta2, at2
        if size > 0.0:
            length = max(1.0, float(np.linalg.norm(r)) / size)
            jump = objective.clip(theta0 + 2.0 * length * r + length**2 * v)
            landed = objective.em_pass(jump)
            if np.isfinite(landed.value) and landed.value > at2.value:
                best, at, _ = ascend(objective, jump, landed)
        gain = max(at.value - at0.value, 0.0)
        remaining = aitken(gain, state.memory["gain"], at.value)
        return State(best, at.value, remaining, stalled=not (moved or moved_again), memory={"pass": at, "gain": gain})
