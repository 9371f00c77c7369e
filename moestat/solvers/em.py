"""EM with a safeguarded Newton step for the gate: monotone to rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective, Pass
from moestat.solvers.base import State

Array = NDArray[np.float64]

GATE_STEPS = (
    1.0,
    0.25,
    0.05,
    0.0,
)  # lengths of the gate's Newton step that are tried; 0 is Böhning's bound, which never fails


def ascend(objective: Objective, theta: Array, at: Pass) -> tuple[Array, Pass, bool]:
    """One EM map from `theta`; the gate's step is shortened until the log-likelihood does not fall.

    The experts' M-step is exact and the last step length maximises a lower bound of the gate's part, so that the result is
    an (E)M step in the sense of Dempster, Laird & Rubin (1977) for every length. Returns False when nothing rises.
    """
    rounding = 1e-12 * (abs(at.value) + 1.0)
    closed = objective.layout.gate.degree == 0 or objective.layout.n_scored == 0
    for length in GATE_STEPS[-1:] if closed else GATE_STEPS:
        candidate = objective.maximise(theta, at.statistics, length)
        new = objective.em_pass(candidate)
        if new.value >= at.value - rounding:
            return candidate, new, True
    return theta, at, False


class EM:
    """Expectation–maximisation (Dempster, Laird & Rubin 1977; Jordan & Jacobs 1994).

    Closed-form experts and one Newton step for the gate in each iteration. The remaining gain is estimated by Aitken's
    extrapolation `δ ρ / (1 - ρ)` of the last two gains.
    """

    name = "em"

    def init(self, objective: Objective, theta: Array) -> State:
        """E-step at the start."""
        at = objective.em_pass(theta)
        return State(theta, at.value, memory={"pass": at, "gain": np.inf})

    def step(self, objective: Objective, state: State) -> State:
        """One iteration."""
        theta, at, moved = ascend(objective, state.theta, state.memory["pass"])
        gain = max(at.value - state.value, 0.0)
        return State(
            theta,
            at.value,
            aitken(gain, state.memory["gain"], at.value),
            stalled=not moved,
            memory={"pass": at, "gain": gain},
        )


def aitken(gain: float, previous: float, value: float) -> float:
    """Estimated remaining gain of a linearly convergent sequence; infinite while the gains still grow."""
    if gain <= 1e-15 * (abs(value) + 1.0):
        return 0.0
    ratio = gain / previous
    return gain * ratio / (1.0 - ratio) if ratio < 1.0 else np.inf
