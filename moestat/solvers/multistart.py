"""Many starts: short EM on a sample, the best followed to the end, agreement counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moestat.layout import Parameters
from moestat.objective import Objective
from moestat.solvers.base import Run, Solver, State, Status, run, short_run
from moestat.solvers.certificate import Certificate
from moestat.solvers.daem import DAEM
from moestat.solvers.em import EM
from moestat.solvers.lm import LM, ProjectedNewton
from moestat.solvers.newton import Newton, chord_reach

Array = NDArray[np.float64]
Callback = Callable[[int, float], None]

SHORT_STEPS = (6, 12)  # EM steps of the two rounds; half of the starts survive the first
AGREEMENT = 1e-4  # nats: runs that end this close have reached the same optimum
TIE = 1e-7  # nats: runs that end this close are equally good; separated experts have many such ends
CHEAP = 60_000  # rows times parameters: below it all starts are followed to the end
FOLLOWED = 3  # starts that are followed to the end above it
SPLIT_ROUNDS = 4  # of split and merge


@dataclass(frozen=True)
class Outcome:
    """The best run, the values of all runs that were followed to the end, and how many starts there were."""

    best: Run
    values: Array
    n_starts: int


def opening(objective: Objective) -> Solver:
    """The solver of the first steps: EM, or Levenberg–Marquardt for a sum of squares."""
    return LM() if hasattr(objective, "gauss_newton") else EM()


def closing(objective: Objective) -> Solver:
    """The solver of the last steps: Newton, for a sum of squares on what is left after its linear parameters."""
    return ProjectedNewton() if hasattr(objective, "gauss_newton") else Newton()


def auto(
    objective: Objective,
    theta: Array,
    *,
    tol: float,
    max_iter: int,
    callback: Callback | None = None,
    first: Solver | None = None,
) -> Run:
    """EM (or Levenberg–Marquardt) while it is fast, then trust-region Newton.

    It is left within Newton's reach of one Hessian, or when its gains shrink slowly (it is then far from the optimum in
    parameters although close in likelihood), at the latest after 50 steps. `first` takes its place, with as many more steps as its
    schedule has.
    """
    first = opening(objective) if first is None else first
    state = first.init(objective, objective.clip(theta))
    trace = [state.value]
    handover = 0.5 * chord_reach(objective.total_weight)
    for iteration in range(1, min(50 + getattr(first, "steps", 0), max_iter) + 1):
        before = state.memory["gain"]
        new = first.step(objective, state)
        gain = new.memory["gain"]
        state = new
        trace.append(state.value)
        if callback is not None:
            callback(iteration, state.value)
        fast = getattr(first, "fast", np.inf) * objective.total_weight  # a larger gain is welcome however it shrinks
        slow = iteration >= 4 and 0.7 * before < gain < fast
        if state.stalled or not np.isfinite(state.value) or state.remaining < handover or slow:
            break
    rest = run(
        closing(objective),
        objective,
        state.theta,
        tol=tol,
        max_iter=max(max_iter - len(trace) + 1, 1),
        callback=callback,
    )
    return replace(rest, trace=(*trace, *rest.trace[1:]))


def follow(
    solver: str | Solver, objective: Objective, theta: Array, *, tol: float, max_iter: int, callback: Callback | None
) -> Run:
    """One start to the end by the named solver, and on from there as long as the experts know a better place."""
    from moestat.solvers import SOLVERS

    def once(start: Array) -> Run:
        if solver == "auto":
            return auto(objective, start, tol=tol, max_iter=max_iter, callback=callback)
        chosen = SOLVERS[solver]() if isinstance(solver, str) else solver
        if isinstance(chosen, DAEM):
            return auto(objective, start, tol=tol, max_iter=max_iter, callback=callback, first=chosen)
        return run(chosen, objective, start, tol=tol, max_iter=max_iter, callback=callback)

    layout, best = objective.layout, once(theta)
    for _ in range(2 * layout.n_experts):
        gate, coef, scale = layout.unpack(best.state.theta)
        tried = [layout.pack(Parameters(gate, *other)) for other in layout.expert.alternatives(coef, scale)]
        if not tried:
            break
        new = once(objective.clip(max(tried, key=objective.value)))
        if not new.state.value > best.state.value + AGREEMENT:
            break
        best = new
    return best


def on_floor(objective: Objective, theta: Array) -> tuple[int, ...]:
    """Experts (from 1) whose density is about to be a spike; see `Objective.degenerate`."""
    return objective.degenerate(theta)


def multistart(
    solver: str | Solver,
    objective: Objective,
    sample: Objective,
    starts: Sequence[Array],
    *,
    tol: float,
    max_iter: int,
    callback: Callback | None = None,
    refine: Callable[[Array], Sequence[Array]] | None = None,
) -> Outcome:
    """Follow the most promising starts to the end.

    `sample` is the objective on the (canonical, possibly thinned) sample on which the short EM runs; `refine` proposes
    further starts around a solution (split and merge).
    """
    if len(starts) == 1:
        best = follow(solver, objective, starts[0], tol=tol, max_iter=max_iter, callback=callback)
        return Outcome(best, np.array([best.state.value]), 1)

    def to_end(theta: Array) -> Run:
        return follow(solver, objective, theta, tol=tol, max_iter=max_iter, callback=callback)

    em = opening(sample)
    states = [short_run(em, sample, theta, SHORT_STEPS[0]) for theta in starts]
    states = [states[i] for i in _ranking(sample, states)]
    if objective.rows.n * objective.n_params < CHEAP:
        runs = [to_end(state.theta) for state in states]
        if refine is not None:
            runs = _refined_runs(em, sample, objective, runs, refine, to_end)
    else:
        states = [_continue(em, sample, state, SHORT_STEPS[1]) for state in states[: max(2, -(-len(states) // 2))]]
        states = [states[i] for i in _ranking(sample, states)]
        if refine is not None:
            states = _refined(em, sample, states, refine)
        runs = []
        for i, state in enumerate(states):
            if i >= FOLLOWED and any(not on_floor(objective, r.state.theta) for r in runs):
                break
            if i == 0 or not _hopeless(sample, states[0], state):
                runs.append(to_end(state.theta))
    finite = [r for r in runs if np.isfinite(r.state.value)] or runs
    sound = [r for r in finite if not on_floor(objective, r.state.theta)] or finite
    top = max(r.state.value for r in sound)
    best = next(
        r for r in sound if r.state.value >= top - TIE
    )  # of equal ones the first, not the one that rounding favours
    values = np.sort([r.state.value for r in sound])[::-1]
    return Outcome(best, values, len(starts))


def _hopeless(sample: Objective, best: State, state: State) -> bool:
    """Whether a start is so far behind after the short runs that no EM would make it good."""
    return state.value < best.value - max(20.0, 0.01 * sample.rows.n)


def _continue(em: Solver, objective: Objective, state: State, n_steps: int) -> State:
    for _ in range(n_steps):
        if state.stalled or not np.isfinite(state.value) or state.remaining < 1e-3:
            break
        state = em.step(objective, state)
    return state


def _ranking(objective: Objective, states: Sequence[State]) -> list[int]:
    """Best first; degenerate and non-finite states last."""

    def key(i: int) -> tuple[bool, bool, float]:
        state = states[i]
        finite = bool(np.isfinite(state.value))
        return (not finite, finite and bool(on_floor(objective, state.theta)), -state.value if finite else 0.0)

    return sorted(range(len(states)), key=key)


def _refined(
    em: Solver, sample: Objective, states: list[State], refine: Callable[[Array], Sequence[Array]]
) -> list[State]:
    """Put split-and-merge moves of the best state before it as long as they raise its likelihood."""
    for _ in range(3):
        best = states[0]
        tried = [_continue(em, sample, short_run(em, sample, theta, 10), 20) for theta in refine(best.theta)]
        tried = [
            s for s in tried if np.isfinite(s.value) and not on_floor(sample, s.theta) and s.value > best.value + 1.0
        ]
        if not tried:
            break
        states = [max(tried, key=lambda s: s.value), *states]
    return states


def _refined_runs(
    em: Solver,
    sample: Objective,
    objective: Objective,
    runs: list[Run],
    refine: Callable[[Array], Sequence[Array]],
    to_end: Callable[[Array], Run],
) -> list[Run]:
    """Follow split-and-merge moves of the best run to the end as long as they find a better one."""
    for _ in range(SPLIT_ROUNDS):
        sound = [r for r in runs if np.isfinite(r.state.value) and not on_floor(objective, r.state.theta)]
        if not sound:
            break
        best = max(sound, key=lambda r: r.state.value)
        tried = [to_end(short_run(em, sample, theta, SHORT_STEPS[1]).theta) for theta in refine(best.state.theta)]
        runs = [*runs, *tried]
        better = [r for r in tried if r.state.value > best.state.value + AGREEMENT]
        if not any(not on_floor(objective, r.state.theta) for r in better):
            break
    return runs


def agreement(outcome: Outcome) -> Certificate:
    """The best run's certificate with the number of starts and of those that agree."""
    best = outcome.best.state.value
    agree = int((outcome.values >= best - AGREEMENT).sum())
    return replace(
        outcome.best.certificate,
        n_starts=outcome.n_starts,
        n_followed=len(outcome.values),
        n_agree=agree,
        rule=_rule(outcome.best.status),
    )


def _rule(status: Status) -> str:
    return {
        Status.CERTIFIED: "Newton decrement below tol",
        Status.MAX_ITER: "iteration limit",
        Status.PARTITION: "partition repeated",
        Status.NONFINITE: "non-finite value",
    }.get(status, "no step raised the log-likelihood")
