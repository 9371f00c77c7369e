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


SETTLED = 1e-4  # mean squared change of the gate's scores below which its curvature is kept for the next step


def ascend(objective: Objective, theta: Array, at: Pass) -> tuple[Array, Pass, bool]:
    """One EM map from `theta`; the gate's step is shortened until the log-likelihood does not fall.

    The experts' M-step is exact and the last step length maximises a lower bound of the gate's part, so that the result is
    an (E)M step in the sense of Dempster, Laird & Rubin (1977) for every length. Returns False when nothing rises.
    """
    rounding = 1e-12 * (abs(at.value) + 1.0)
    layout = objective.layout
    size = layout.n_gate
    closed = (size == 0 or (layout.gate.degree == 0 and not layout.gate.general)) and layout.expert.closed_form
    for length in GATE_STEPS[-1:] if closed else GATE_STEPS:
        candidate = objective.maximise(theta, at, length)
        settled = False
        if at.information is not None:
            change = candidate[:size] - theta[:size]
            settled = length == 1.0 and float(change @ at.information @ change) < SETTLED * objective.total_weight
        new = objective.em_pass(candidate, information=not settled)
        if new.value >= at.value - rounding:
            return candidate, new._replace(information=at.information) if settled else new, True
        if settled and length == 1.0:
            at = at._replace(information=objective.em_pass(theta).information)
    if layout.gate.general and size:  # a sparse gate may lose by every step, however short: the experts alone
        for length in GATE_STEPS[:-1]:
            candidate = objective.maximise(theta, at, length)
            candidate[:size] = theta[:size]
            new = objective.em_pass(candidate)
            if new.value > at.value + rounding:
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
    if not (np.isfinite(previous) and previous > 0.0):
        return np.inf
    ratio = gain / previous
    return gain * ratio / (1.0 - ratio) if ratio < 1.0 else np.inf
