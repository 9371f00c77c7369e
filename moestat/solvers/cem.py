"""Classification EM: hard assignments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective
from moestat.solvers.base import State, Status

Array = NDArray[np.float64]


class CEM:
    """Classification EM (Celeux & Govaert 1992): every row belongs to its most probable expert.

    It raises the classification likelihood and ends, after few steps, when the partition repeats. Its end point is no
    maximiser of the likelihood; it is fast, and a good start for other solvers.
    """

    name = "cem"

    def init(self, objective: Objective, theta: Array) -> State:
        """Partition at the start."""
        return State(theta, objective.value(theta), memory={"labels": objective.responsibilities(theta).argmax(axis=0)})

    def step(self, objective: Objective, state: State) -> State:
        """M-step from the hard partition, then the new partition."""
        labels = state.memory["labels"]
        k = objective.layout.n_experts
        hard = (labels == np.arange(k)[:, None]).astype(float)
        theta = state.theta
        for _ in range(3):  # the gate's Newton step from fixed labels, repeated
            theta = objective.maximise(theta, objective.em_pass(theta, hard))
        new = objective.responsibilities(theta).argmax(axis=0)
        done = bool(np.array_equal(new, labels))
        return State(theta, objective.value(theta), stalled=done, memory={"labels": new, "status": Status.PARTITION})
