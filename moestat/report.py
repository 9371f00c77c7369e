"""From the end of a search to the report of a fit: order of the experts, separation, degeneracy, messages."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moestat import diagnosis
from moestat.coordinates import Coordinates
from moestat.layout import Layout
from moestat.mixture import ConditionalMixture
from moestat.objective import Objective
from moestat.solvers.base import FitResult, Solver, Status
from moestat.solvers.certificate import local_model
from moestat.solvers.multistart import Outcome, agreement, on_floor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FittedMixture:
    """The fitted density and the report of the fit."""

    mixture: ConditionalMixture
    result: FitResult


def report(
    outcome: Outcome,
    objective: Objective,
    coordinates: Coordinates,
    fixed_order: bool,
    solver: str | Solver,
    gate_l2: float,
    began: float,
) -> FittedMixture:
    """Order the experts, look for separation and degeneracy, and write the result."""
    theta, status = outcome.best.state.theta, outcome.best.status
    layout = objective.layout
    gate_mass, mass = objective.masses(theta)
    order = [int(k) for k in np.argsort(-gate_mass, kind="stable")]
    if fixed_order or not _may_permute(layout, theta, order):
        order = list(range(layout.n_experts))
    rank = {k: i + 1 for i, k in enumerate(order)}
    mixture = coordinates.mixture(theta, order)
    floored = tuple(sorted(rank[k - 1] for k in on_floor(objective, theta)))
    idle = diagnosis.idle_experts(mass)
    separation = None
    if gate_l2 == 0.0:
        model = outcome.best.state.memory.get("model") or local_model(objective, theta)
        separation = diagnosis.separation(objective, theta, model, idle)
    messages = list(diagnosis.collinearity(coordinates))
    if status.certified and not layout.expert.closed_form:
        model = outcome.best.state.memory.get("model") or local_model(objective, theta)
        infinite = diagnosis.expert_separation(objective, theta, model, idle)
        if infinite:
            messages.append(diagnosis.expert_separation_message(infinite, coordinates, rank))
            status = Status.SEPARATED
    if idle:
        messages.append(diagnosis.idle_message([rank[k] for k in idle]))
    if layout.expert.can_spike and not floored and layout.n_experts > 1:
        thin = diagnosis.thin_experts(mass, objective.rows.n, layout.q_expert)
        if thin:
            messages.append(diagnosis.thin_message([rank[k] for k in thin]))
    direction = None
    if separation is not None:
        gate = coordinates.gate_map.to_raw(separation)[order]
        direction = gate - gate[-1]
        if status is Status.CERTIFIED:
            status = Status.SEPARATED
    if floored:
        messages.append(diagnosis.floor_message(floored))
        status = Status.DEGENERATE if status.certified else status
    limits, said = diagnosis.limits_reached(objective, theta, mixture, order)
    messages += said
    active = (*diagnosis.active_bounds(objective, theta, coordinates, order), *limits)
    active = tuple(dict.fromkeys(active))
    penalty = objective.penalty_value(theta)
    offset = coordinates.loglik_offset(objective.total_weight)
    penalised = outcome.best.state.value + offset
    result = FitResult(
        loglik=penalised + penalty,
        penalised=penalised,
        status=status,
        n_iter=max(len(outcome.best.trace) - 1, 1),
        seconds=time.perf_counter() - began,
        solver=solver if isinstance(solver, str) else solver.name,
        trace=np.asarray(outcome.best.trace) + offset,
        certificate=agreement(outcome),
        starts=outcome.values + offset,
        active_bounds=active,
        floored=floored,
        separation=direction,
        messages=tuple(messages),
    )
    return FittedMixture(mixture, result)


def _may_permute(layout: Layout, theta: Array, order: list[int]) -> bool:
    """Whether gate and experts are the same model in that order."""
    if not layout.expert.exchangeable:
        return False
    try:
        layout.gate.permute(layout.unpack(theta).gate, order)
    except ValueError:
        return False
    return True
