"""The one loop of all solvers, its stopping rule, and what a fit reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective
from moestat.solvers.certificate import Certificate, certify

Array = NDArray[np.float64]


class Status(Enum):
    """How a fit ended; the value says what it means and what to do."""

    CERTIFIED = "The log-likelihood cannot rise by more than tol from here (Newton decrement): this is a maximiser."
    SEPARATED = (
        "The likelihood rises towards infinite coefficients (the features separate experts or classes) and has next to nothing to gain. "
        "Give gate_l2 > 0 for finite gate coefficients, or use fewer experts or features."
    )
    DEGENERATE = (
        "An expert's scale sits on the variance floor: its likelihood is unbounded there. "
        "Use fewer experts, variance='tied', or raise variance_floor."
    )
    MAX_ITER = "The iteration limit was reached before the Newton decrement fell below tol; raise max_iter or use solver='auto'."
    STALLED = "No step raised the log-likelihood although the Newton decrement is above tol; try other starts (n_init) or rescale y."
    PARTITION = "The hard partition stopped changing: a maximum of the classification likelihood, not of the likelihood (solver='cem')."
    NONFINITE = "The log-likelihood became nan or infinite; check the scale of X and y."

    @property
    def certified(self) -> bool:
        """Whether the remaining gain is known to be below tol."""
        return self in (Status.CERTIFIED, Status.SEPARATED)


SATURATED = (
    1e-5  # nats below the supremum of all likelihoods, where that is known: classes that are predicted without error
)
POLISHING = 12  # steps at most; two do for a regular maximum, nearly separated coefficients gain a digit in two
POLISHED = (
    1e-20  # nats: scores at rounding, parameters to about 1e-10 standard errors; no further step is worth its pass
)


@dataclass(frozen=True)
class State:
    """Where a solver is: point, value, and its own estimate (nats) of what remains to be gained."""

    theta: Array
    value: float
    remaining: float = np.inf
    stalled: bool = False
    memory: dict[str, Any] = field(default_factory=dict)


class Solver(Protocol):
    """A local ascent method: `init` makes the first state, `step` the next one."""

    name: str

    def init(self, objective: Objective, theta: Array) -> State:
        """State at the start."""

    def step(self, objective: Objective, state: State) -> State:
        """The next state; its value is never lower (apart from rounding)."""


@dataclass(frozen=True)
class FitResult:
    """What a fit reports; frozen.

    Attributes
    ----------
    loglik : float
        Log-likelihood of the sample (weighted, without penalty) in the units of y.
    penalised : float
        `loglik` minus the gate penalty.
    status : Status
        How it ended.
    n_iter : int
        Iterations of the best start, of all its solvers.
    seconds : float
        Wall time of the whole fit.
    solver : str
        Name of the solver.
    trace : array
        Penalised log-likelihood by iteration of the best start.
    certificate : Certificate
        Evidence that it is a maximiser.
    starts : array
        Penalised log-likelihoods that the starts reached, best first.
    active_bounds : tuple of str
        Names of the parameters at a bound of the box.
    floored : tuple of int
        Experts (from 1) on the variance floor.
    separation : array or None
        Direction of the gate's coefficients `(K, d+1)` (intercept first) along which the likelihood rises to its supremum.
    messages : tuple of str
        Everything else a user should know.
    """

    loglik: float
    penalised: float
    status: Status
    n_iter: int
    seconds: float
    solver: str
    trace: Array
    certificate: Certificate
    starts: Array
    active_bounds: tuple[str, ...] = ()
    floored: tuple[int, ...] = ()
    separation: Array | None = None
    messages: tuple[str, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether the certificate holds."""
        return self.status.certified


@dataclass(frozen=True)
class Run:
    """One solver from one start."""

    state: State
    status: Status
    certificate: Certificate
    trace: tuple[float, ...]


def run(
    solver: Solver,
    objective: Objective,
    theta: Array,
    *,
    tol: float = 1e-8,
    max_iter: int = 1000,
    callback: Callable[[int, float], None] | None = None,
) -> Run:
    """Iterate until the exact Newton decrement is below `tol` nats of the whole sample.

    A solver only estimates what remains; when its estimate is below the threshold, the exact decrement is computed, and if
    it is not small enough the solver goes on with a ten times smaller threshold.
    """
    from moestat.solvers.valley import Valley

    state = solver.init(objective, objective.clip(theta))
    valley = Valley(solver, objective) if getattr(solver, "quadratic", False) else None
    trace = [state.value]
    threshold = tol
    for iteration in range(1, max_iter + 1):
        if not np.isfinite(state.value):
            return _end(objective, state, Status.NONFINITE, tol, trace)
        if objective.supremum - state.value < SATURATED:
            return _saturated(objective, state, tol, trace)
        if state.remaining <= threshold or state.stalled:
            certificate = certify(objective, state.theta, tol, state.memory.get("model"))
            if certificate.certified:
                return _polished(solver, objective, Run(state, Status.CERTIFIED, certificate, tuple(trace)), tol)
            if state.stalled:
                return Run(state, state.memory.get("status", Status.STALLED), certificate, tuple(trace))
            threshold *= 0.1
        new = solver.step(objective, state)
        state = new if valley is None else valley.leap(new)
        trace.append(state.value)
        if callback is not None:
            callback(iteration, state.value)
    return _end(objective, state, Status.MAX_ITER, tol, trace)


def _saturated(objective: Objective, state: State, tol: float, trace: list[float]) -> Run:
    """The end of a search whose value is at the supremum of all likelihoods: parameters would grow for ever from here."""
    gap = float(objective.supremum - state.value)
    flat = Certificate(gap, 0.0, np.zeros(0), 0, objective.n_params, tol, True, rule="the supremum of the likelihood")
    return Run(state, Status.SEPARATED, flat, tuple(trace))


def _polished(solver: Solver, objective: Objective, done: Run, tol: float) -> Run:
    """A few more steps of a quadratically convergent solver: they take the scores from "small enough" to rounding."""
    if not getattr(solver, "quadratic", False):
        return done
    for _ in range(POLISHING):
        if done.state.stalled or done.certificate.decrement < POLISHED:
            break
        state = solver.step(objective, done.state)
        certificate = certify(objective, state.theta, tol, state.memory.get("model"))
        if not certificate.certified or certificate.decrement > 0.9 * done.certificate.decrement:
            break
        done = Run(state, Status.CERTIFIED, certificate, (*done.trace, state.value))
    return done


def _end(objective: Objective, state: State, status: Status, tol: float, trace: list[float]) -> Run:
    certificate = certify(objective, state.theta, tol, state.memory.get("model"))
    if status is Status.MAX_ITER and certificate.certified:
        status = Status.CERTIFIED
    return Run(state, status, certificate, tuple(trace))


def short_run(solver: Solver, objective: Objective, theta: Array, n_steps: int) -> State:
    """A few steps without a certificate."""
    state = solver.init(objective, objective.clip(theta))
    for _ in range(n_steps):
        if state.stalled or not np.isfinite(state.value):
            break
        state = solver.step(objective, state)
    return state


def fresh(state: State, **changes: Any) -> State:
    """A copy of the state with changes."""
    return replace(state, **changes)
