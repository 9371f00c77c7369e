"""The search of a fit: starts from what the user says or from partitions, and the best end of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat import checks
from moestat.coordinates import Coordinates
from moestat.experts.gaussian import GaussianExpert
from moestat.objective import Objective
from moestat.responsibilities import from_responsibilities, split_merge_starts
from moestat.solvers.base import Solver
from moestat.solvers.moves import split_merge_candidates
from moestat.solvers.multistart import Outcome, multistart, on_floor
from moestat.solvers.starts import canonical_sample, initial_responsibilities, start_plan

Array = NDArray[np.float64]
Box = Mapping[str, tuple[ArrayLike, ArrayLike]]
Scatter = Callable[[Objective, list[Array], np.random.Generator], list[Array]]

SAMPLE = 5000  # rows of the canonical sample on which starts are made and compared


@dataclass(frozen=True)
class Start:
    """A start: raw parameters, and optionally a box of its own."""

    params: Mapping[str, Any]
    box: Box | None = None


def search(
    data: checks.Data,
    coordinates: Coordinates,
    objective_of: Callable[..., Objective],
    solver: str | Solver,
    init: Any,
    *,
    n_init: int,
    box: Box | None,
    rng: np.random.Generator | int | None,
    n_jobs: int,
    tol: float,
    max_iter: int,
    callback: Callable[[int, float], None] | None,
    scatter: Scatter | None = None,
) -> tuple[Objective, Outcome]:
    """From starts to the best end: the objective of the data, `objective_of(data, box, n_jobs)`, and the outcome.

    `scatter` replaces the starts that partitions make by as many others.
    """
    explicit, n_experts = explicit_starts(init), coordinates.layout.n_experts
    settings: dict[str, Any] = {"tol": tol, "max_iter": max_iter, "callback": callback}
    if callback is not None:
        settings["callback"] = _in_units_of_y(callback, coordinates, data)
    if explicit is not None and any(s.box is not None for s in explicit):
        return _own_boxes(solver, explicit, box, lambda b: objective_of(data, b, n_jobs), coordinates, settings)
    objective = objective_of(data, box, n_jobs)
    generator = np.random.default_rng(rng)
    starts, sample = _starts(
        init, explicit, n_init, n_experts, coordinates, objective, data, objective_of, box, generator
    )
    if scatter is not None and isinstance(init, str):
        starts = scatter(objective if sample is None else sample.objective, starts, generator)
    refine = None
    if sample is not None and n_experts > 2 and len(starts) > 1 and solver == "auto" and box is None:
        refine = _split_and_merge(coordinates, sample)
    on = objective if sample is None else sample.objective
    return objective, multistart(solver, objective, on, starts, refine=refine, **settings)


def _in_units_of_y(
    callback: Callable[[int, float], None], coordinates: Coordinates, data: checks.Data
) -> Callable[[int, float], None]:
    """The user's callback, with the log-likelihood in the units of y."""
    offset = coordinates.loglik_offset(float(data.weight.sum()) if data.weight.size else float(len(data.X)))
    return lambda iteration, value: callback(iteration, value + offset)


@dataclass(frozen=True)
class _Sample:
    """The canonical sample on which starts are made, and its objective."""

    X: Array
    y: Array
    weight: Array
    objective: Objective


def explicit_starts(init: Any) -> list[Start] | None:
    """Starts that are given as parameters; None when `init` is a name or responsibilities."""
    if isinstance(init, Mapping):
        return [Start(init)]
    if isinstance(init, (list, tuple)) and init and all(isinstance(s, Start) for s in init):
        return list(init)
    return None


def _sample(
    data: checks.Data,
    objective: Objective,
    objective_of: Callable[[checks.Data, Box | None], Objective],
    box: Box | None,
) -> _Sample:
    weight = data.weight if data.weight.size else np.broadcast_to(1.0, len(data.X))
    joined = np.column_stack([data.y, data.offset]) if data.offset.size else data.y
    X, y, w = canonical_sample(data.X, joined, weight, SAMPLE)
    checks.enough_rows(len(X), objective.layout.n_experts)
    cols = data.y.shape[1]
    rows = checks.Data(X, np.ascontiguousarray(y[:, :cols]), w, data.vector_y, offset=y[:, cols:].ravel())
    return _Sample(X, rows.y, w, objective_of(rows, box))


def _starts(
    init: Any,
    explicit: list[Start] | None,
    n_init: int,
    n_experts: int,
    coordinates: Coordinates,
    objective: Objective,
    data: checks.Data,
    objective_of: Callable[[checks.Data, Box | None], Objective],
    box: Box | None,
    generator: np.random.Generator,
) -> tuple[list[Array], _Sample | None]:
    """Free vectors of all starts, and the sample on which they are compared (None: the data themselves)."""
    if explicit is not None:
        checks.enough_rows(len(data.X), n_experts)
        return [coordinates.theta(start.params) for start in explicit], None
    if n_experts == 1:
        return [from_responsibilities(objective, np.ones((1, objective.rows.n)))], None
    if not isinstance(init, str):
        checks.enough_rows(len(data.X), n_experts)
        return [from_responsibilities(objective, checks.responsibilities(init, data, n_experts).T)], None
    kinds = start_plan(init, n_init)
    sample = _sample(data, objective, objective_of, box)
    target = objective.layout.expert.starting_response(sample.y)
    resp = (initial_responsibilities(kind, sample.X, target, sample.weight, n_experts, generator) for kind in kinds)
    return [from_responsibilities(sample.objective, r) for r in resp], sample


def _split_and_merge(coordinates: Coordinates, sample: _Sample) -> Callable[[Array], list[Array]]:
    """Proposals around a solution; see `split_merge_candidates`."""
    layout = coordinates.layout
    if layout.gate.general or not isinstance(layout.expert, GaussianExpert):
        return lambda theta: split_merge_starts(sample.objective, theta, layout.expert.starting_response(sample.y))
    share = sample.weight / sample.weight.sum()
    gate_center = coordinates.gate_map.raw_map().features(sample.X)[1:] @ share
    expert_center = coordinates.expert_map.raw_map().features(sample.X)[1:] @ share

    def propose(theta: Array) -> list[Array]:
        resp = sample.objective.responsibilities(theta)
        overlap = (resp * sample.weight) @ resp.T
        candidates = split_merge_candidates(
            coordinates.mixture(theta).params,
            overlap,
            gate_center=gate_center if len(gate_center) else None,
            expert_center=expert_center if len(expert_center) else None,
            keep_scale=coordinates.layout.expert.known_scale is not None,
        )
        return [coordinates.theta(c) for c in candidates]

    return propose


def _own_boxes(
    solver: str | Solver,
    starts: list[Start],
    box: Box | None,
    objective_of: Callable[[Box | None], Objective],
    coordinates: Coordinates,
    settings: dict[str, Any],
) -> tuple[Objective, Outcome]:
    """Every start within its own box; the best of them all, with its objective."""
    results = []
    for start in starts:
        objective = objective_of(start.box if start.box is not None else box)
        results.append(
            (objective, multistart(solver, objective, objective, [coordinates.theta(start.params)], **settings))
        )
    # as everywhere, a degenerate optimum counts only if there is no other
    objective, best = max(results, key=lambda r: (not on_floor(r[0], r[1].best.state.theta), r[1].best.state.value))
    values = np.sort([outcome.best.state.value for _, outcome in results])[::-1]
    return objective, Outcome(best.best, values, len(starts))
