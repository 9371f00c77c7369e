"""Search for the maximum: starts from partitions of the annotators, EM, then trust-region Newton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np

from moestat.objective import Objective
from moestat.preference.data import Array
from moestat.preference.objective import PreferenceObjective
from moestat.solvers.base import Run, State, run
from moestat.solvers.em import aitken
from moestat.solvers.multistart import CHEAP, FOLLOWED, Outcome
from moestat.solvers.newton import Newton
from moestat.solvers.starts import initial_responsibilities

EM_STEPS = 30  # at most, before Newton takes over
SLOW = 0.8  # ratio of two gains from which on EM is left
LENGTHS = 0.5 ** np.arange(30)  # of the M-step's Newton direction
KINDS = ("kmeans_x", "cells", "kmeans", "random")  # partitions, in turn


class EM:
    """EM with one Newton step in each M-step (Lange 1995), shortened until the log-likelihood does not fall.

    The M-step's objective is concave and has the gradient of the log-likelihood, so that a short enough step always rises.
    """

    name = "em"

    def init(self, objective: PreferenceObjective, theta: Array) -> State:
        """E-step at the start."""
        at = objective.forward(theta)
        return State(theta, objective.value_at(theta, at), memory={"at": at, "gain": np.inf})

    def step(self, objective: PreferenceObjective, state: State) -> State:
        """One iteration; stalled when no length rises."""
        direction = objective.em_direction(state.theta, state.memory["at"])
        rounding = 1e-13 * (abs(state.value) + 1.0)
        for length in LENGTHS:
            theta = state.theta + length * direction
            at = objective.forward(theta)
            value = objective.value_at(theta, at)
            if value >= state.value - rounding:
                gain = max(value - state.value, 0.0)
                remaining = aitken(gain, state.memory["gain"], value)
                return State(theta, value, remaining, memory={"at": at, "gain": gain})
        return replace(state, remaining=0.0, stalled=True)


def annotator_rewards(objective: PreferenceObjective) -> Array:
    """A crude reward of each annotator `(A, r)`: one scoring step from zero, shrunk; log-likelihoods if the experts are fixed."""
    at = objective.forward(np.zeros(objective.n_params))
    if objective.coordinates.fixed:
        return np.stack([objective.by_annotator(c.log_prob) for c in at.choices], axis=1)
    count = objective.by_annotator(np.ones(len(objective.choices.size)))
    # The features are whitened: near zero a pair carries the information I/4.
    return np.asarray(objective.expert_scores(at)[0] / (0.25 * count + 1.0)[:, None])


def starts(objective: PreferenceObjective, U: Array, n_init: int, rng: np.random.Generator) -> list[Array]:
    """Free vectors after two scoring steps from partitions of the annotators by their crude rewards, covariates, or at random."""
    k, n = objective.n_experts, len(U)
    zero = np.zeros(objective.n_params)
    if k == 1:
        return [zero]
    rewards = annotator_rewards(objective)
    origin = objective.forward(zero)
    out = []
    for i in range(n_init):
        kind = KINDS[i % len(KINDS)]
        resp = initial_responsibilities(kind, rewards, U if U.shape[1] else rewards, np.ones(n), k, rng)
        theta = objective.em_direction(zero, origin, resp)
        out.append(theta + objective.em_direction(theta, objective.forward(theta), resp))
    return out


def search(
    objective: PreferenceObjective,
    points: list[Array],
    *,
    tol: float,
    max_iter: int,
    callback: Callable[[int, float], None] | None = None,
) -> Outcome:
    """EM from every start, Newton from all of them (small problems) or from the best."""
    explored = sorted((explore(objective, theta, max_iter, callback) for theta in points), key=lambda e: -e[-1].value)
    small = len(objective.choices.differences) * objective.n_params < CHEAP
    runs = [to_end(objective, states, tol, max_iter) for states in (explored if small else explored[:FOLLOWED])]
    best = max(runs, key=lambda r: r.state.value)
    return Outcome(best, np.sort([r.state.value for r in runs])[::-1], len(points))


def explore(
    objective: PreferenceObjective, theta: Array, max_iter: int, callback: Callable[[int, float], None] | None = None
) -> list[State]:
    """The states of EM until its gains shrink slowly."""
    em = EM()
    states = [em.init(objective, theta)]
    for iteration in range(1, min(EM_STEPS, max_iter) + 1):
        new = em.step(objective, states[-1])
        if new.stalled:
            break
        slow = iteration >= 4 and new.memory["gain"] > SLOW * states[-1].memory["gain"]
        states[-1].memory.pop("at")  # of the data's size
        states.append(new)
        if callback is not None:
            callback(iteration, new.value)
        if slow or new.remaining < 1e-3:
            break
    states[-1].memory.pop("at", None)
    return states


def to_end(objective: PreferenceObjective, states: list[State], tol: float, max_iter: int) -> Run:
    """Newton from the last state; the trace is that of both."""
    trace = tuple(state.value for state in states)
    # What Newton and the certificate ask of an objective, this one has.
    smooth = cast(Objective, objective)
    rest = run(Newton(), smooth, states[-1].theta, tol=tol, max_iter=max(max_iter - len(trace) + 1, 1))
    return replace(rest, trace=(*trace, *rest.trace[1:]))
