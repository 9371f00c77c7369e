"""Leaps along a curved valley, in which Newton's steps creep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective
from moestat.solvers.base import Solver, State

Array = NDArray[np.float64]

PATIENCE = 12  # steps without leaps: regular maxima need no more
FIRST = 8.0  # times the length of the last two steps: the first leap
CORRECTIONS = 2  # steps back to the floor of the valley


class Valley:
    """Extrapolates a solver's path, and lets the solver go back to the floor of the valley from there.

    Singular information (more experts than the truth has) makes valleys whose floor rises by little and bends: a quadratic
    model is then true for a short step only, but the bend itself is smooth. A parabola through three points, over their
    distances in the metric of the information, predicts where the valley leads. Steps may alternate between its sides, so
    that every second point counts. A leap that gains less than the steps which it costs is taken back; the next one is
    shorter and later.
    """

    def __init__(self, solver: Solver, objective: Objective) -> None:
        self.solver, self.objective = solver, objective
        self.states: list[State] = []
        self.steps, self.wait, self.failures = 0, PATIENCE, 0
        self.length = 0.0  # of the next leap; 0 before the first

    def leap(self, state: State) -> State:
        """The state further down the valley, or `state` where there is none."""
        self.steps += 1
        if self.steps % CORRECTIONS or state.stalled or not np.isfinite(state.value):
            return state
        self.states = [*self.states[-2:], state]
        if self.steps < self.wait:
            return state
        while (ahead := self._ahead()) is not None:
            gain = self.states[-1].value - self.states[-2].value
            far = self._corrected(ahead)
            # as much for each of its passes as the last steps gained
            if far is None or far.value <= self.states[-1].value + (1.0 + 1.0 / CORRECTIONS) * gain:
                self.failures += 1
                self.length *= 0.3
                self.wait = self.steps + CORRECTIONS * min(2**self.failures, 8)
                break
            self.failures = 0
            self.length *= 2.0
            self.states = [*self.states[-2:], far]
        return self.states[-1]

    def _ahead(self) -> Array | None:
        """The point at the next leap's distance on the parabola through the last points; None where they do not creep."""
        if len(self.states) < 3:
            return None
        model = self.states[-1].memory.get("model")
        first, last = (b.theta - a.theta for a, b in zip(self.states, self.states[1:], strict=False))
        if model is None or not model.finite:
            return None
        scale = np.zeros_like(last)
        scale[model.free] = model.d
        a, b = float(np.linalg.norm(scale * first)), float(np.linalg.norm(scale * last))
        if not (min(a, b) > 0.0 and (scale * first) @ (scale * last) > 0.8 * a * b):
            return None
        self.length = max(self.length, 2.0 * b) if self.length else FIRST * b
        bend = (last / b - first / a) / (a + b)
        return self.states[-1].theta + (last / b) * self.length + bend * self.length * (self.length + b)

    def _corrected(self, theta: Array) -> State | None:
        """The state after a few steps from a point, with the trust that the solver had."""
        found: Any = self.solver.init(self.objective, self.objective.clip(theta))
        memory = self.states[-1].memory
        if np.isfinite(found.value) and "radius" in memory:
            found = replace(found, memory=found.memory | {"radius": memory["radius"]})
        for _ in range(CORRECTIONS):
            if not np.isfinite(found.value) or found.stalled:
                return None
            found = self.solver.step(self.objective, found)
        return found if np.isfinite(found.value) and not found.stalled else None
