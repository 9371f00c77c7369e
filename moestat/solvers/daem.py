"""Deterministic annealing: EM with tempered responsibilities, from warm to cold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moestat.objective import Objective
from moestat.solvers.base import State
from moestat.solvers.em import EM


@dataclass(frozen=True)
class DAEM:
    r"""Deterministic annealing EM (Ueda & Nakano 1998), then EM and Newton as in `auto`.

    The E-step is tempered, ``r_k ∝ (π_k(x) f_k(y|x))^b``, with the inverse temperature b rising geometrically from `first` to 1 in
    `steps` steps. At a fixed b a step raises the free energy ``Σ_i Σ_k r_ik log(π_k f_k) + H(r)/b``; as b changes so does that criterion, and
    the log-likelihood may fall on the way. Below the temperature at which the experts fall apart they merge, and the search ends at
    a worse place: `first` should not be much lower than its default.

    Parameters
    ----------
    first : float, default 0.5
        Inverse temperature of the first step, in (0, 1].
    steps : int, default 20
        Tempered steps.

    Raises
    ------
    ValueError
        If `first` or `steps` is out of range.

    Examples
    --------
    >>> import numpy as np, moestat as ms
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, (300, 1))
    >>> y = np.abs(X[:, 0]) + 0.1 * rng.standard_normal(300)
    >>> warm = ms.GaussianMoERegressor(2, solver=ms.solvers.DAEM(first=0.4), random_state=0).fit(X, y)
    >>> bool(warm.converged_), bool(abs(warm.loglik_ - ms.GaussianMoERegressor(2, random_state=0).fit(X, y).loglik_) < 1e-6)
    (True, True)
    """

    first: float = 0.5
    steps: int = 20
    name = "daem"

    def __post_init__(self) -> None:
        if not 0.0 < self.first <= 1.0:
            raise ValueError(f"first is an inverse temperature in (0, 1], got {self.first!r}.")
        if self.steps < 1 or int(self.steps) != self.steps:
            raise ValueError(f"steps must be a whole number of at least 1, got {self.steps!r}.")

    def init(self, objective: Objective, theta: np.ndarray) -> State:
        """The start, with all of the schedule ahead."""
        return State(theta, objective.value(theta), memory={"done": 0, "gain": np.inf})

    def step(self, objective: Objective, state: State) -> State:
        """A tempered step, or one of EM when the schedule has ended."""
        done = state.memory.get("done", self.steps)
        if done >= self.steps:
            return EM().step(objective, state)
        power = self.first ** (1.0 - done / self.steps)
        resp = objective.responsibilities(state.theta) ** power
        resp /= resp.sum(axis=0)
        theta = objective.clip(objective.maximise(state.theta, objective.em_pass(state.theta, resp)))
        if done + 1 == self.steps:
            return EM().init(objective, theta)
        return State(theta, objective.value(theta), memory={"done": done + 1, "gain": np.inf})
