"""From grouped choices to a report: search, order of the experts, diagnosis."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moestat.diagnosis import idle_experts
from moestat.exceptions import CollinearityWarning, DegeneracyWarning, SeparationWarning
from moestat.linalg import one_blas_thread
from moestat.preference import diagnosis
from moestat.preference.coordinates import Coordinates
from moestat.preference.data import Array, Comparisons
from moestat.preference.inference import Evidence
from moestat.preference.objective import PreferenceObjective
from moestat.preference.search import search, starts
from moestat.solvers.base import FitResult, Status
from moestat.solvers.multistart import agreement


@dataclass(frozen=True, eq=False)
class FittedChoices:
    """A fit in raw coordinates.

    Attributes
    ----------
    gate : (K, 1 + q) array
        Intercept first, the last row zero.
    coef : (K, p) array
    resp : (A, K) array
        Responsibilities.
    result : FitResult
    evidence : Evidence
    warnings : list of (category, text)
    """

    gate: Array
    coef: Array
    resp: Array
    result: FitResult
    evidence: Evidence
    warnings: list[tuple[type[Warning], str]]


def feature_names(n_features: int) -> list[str]:
    """Names of features that have none."""
    return [f"phi{j + 1}" for j in range(n_features)]


def fit_choices(
    data: Comparisons,
    U: Array,
    n_experts: int,
    *,
    fixed: bool,
    l2: float,
    gate_l2: float,
    n_init: int,
    tol: float,
    max_iter: int,
    rng: np.random.Generator,
    callback: Callable[[int, float], None] | None,
    covariate_names: Sequence[str],
) -> FittedChoices:
    """Maximum-likelihood fit of checked data.

    Raises
    ------
    ValueError
        If the alternatives do not differ in any choice set.
    """
    began = time.perf_counter()
    if not data.differences.any():
        raise ValueError(
            "in every choice set all alternatives have the same features: choices between them say nothing about a reward."
        )
    coordinates = Coordinates.of(n_experts, U, data.differences, l2, fixed)
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        objective = PreferenceObjective(data, U, coordinates, l2=l2, gate_l2=gate_l2)
        outcome = search(objective, starts(objective, U, n_init, rng), tol=tol, max_iter=max_iter, callback=callback)
        theta = outcome.best.state.theta
        if not fixed:
            mass = objective.forward(theta).prob.sum(axis=1)
            theta = coordinates.reordered(theta, [int(k) for k in np.argsort(-mass, kind="stable")])
        resp = objective.forward(theta).resp
        evidence = Evidence.of(objective, theta)
        split = diagnosis.separation(objective, theta, -evidence.information)
    gate, coef = coordinates.raw(theta)
    direction = None if split.gate is None else split.gate @ coordinates.gate_matrix.T
    names = feature_names(coef.shape[1])
    said: list[tuple[type[Warning], str]] = [
        (CollinearityWarning, text)
        for text in diagnosis.constant_messages(coordinates, names, list(covariate_names), l2 > 0.0)
    ]
    for k, way in split.experts.items():
        text = diagnosis.separable_message(k + 1, coordinates.rewards.root @ way, names)
        said.append((SeparationWarning, text))
    if direction is not None:
        said.append((SeparationWarning, diagnosis.gate_message(direction, list(covariate_names))))
    idle = idle_experts(resp.sum(axis=1))
    if idle:
        said.append((DegeneracyWarning, diagnosis.idle_message([k + 1 for k in idle], fixed)))
    status = outcome.best.status
    if status is Status.CERTIFIED and (split.experts or direction is not None):
        status = Status.SEPARATED
    penalised = outcome.best.state.value
    result = FitResult(
        loglik=penalised + objective.penalty_value(theta),
        penalised=penalised,
        status=status,
        n_iter=max(len(outcome.best.trace) - 1, 1),
        seconds=time.perf_counter() - began,
        solver="auto",
        trace=np.asarray(outcome.best.trace),
        certificate=agreement(outcome),
        starts=outcome.values,
        separation=direction,
        messages=tuple(text for _, text in said),
    )
    return FittedChoices(gate, coef, resp.T.copy(), result, evidence, said)
