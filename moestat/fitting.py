"""Fit a mixture of experts: data in, certified maximiser out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat import checks
from moestat.coordinates import Coordinates
from moestat.experts.base import BaseExpert
from moestat.experts.gaussian import GaussianExpert
from moestat.gates.base import Gate
from moestat.linalg import one_blas_thread
from moestat.objective import Objective
from moestat.registry import resolve_expert, resolve_gate
from moestat.report import FittedMixture, report
from moestat.responsibilities import from_responsibilities, split_merge_starts
from moestat.solvers import LIKELIHOOD, check_use
from moestat.solvers.base import Solver
from moestat.solvers.moves import split_merge_candidates
from moestat.solvers.multistart import Outcome, multistart, on_floor
from moestat.solvers.starts import canonical_sample, initial_responsibilities, start_plan

Array = NDArray[np.float64]
Box = Mapping[str, tuple[ArrayLike, ArrayLike]]

__all__ = ["FittedMixture", "Start", "fit_mixture"]

SAMPLE = 5000  # rows of the canonical sample on which starts are made and compared


@dataclass(frozen=True)
class Start:
    """A start: raw parameters, and optionally a box of its own."""

    params: Mapping[str, Any]
    box: Box | None = None


def fit_mixture(
    X: ArrayLike,
    y: ArrayLike,
    n_experts: int = 2,
    *,
    gate: str | Gate = "softmax",
    expert: str | BaseExpert = "gaussian",
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    gate_features: Sequence[int] | None = None,
    expert_features: Sequence[int] | None = None,
    init: Any = "kmeans",
    n_init: int = 10,
    solver: str | Solver = "auto",
    tol: float = 1e-8,
    max_iter: int = 1000,
    gate_l2: float = 0.0,
    variance_floor: float = 1e-6,
    box: Box | None = None,
    rng: np.random.Generator | int | None = None,
    n_jobs: int = 1,
    callback: Callable[[int, float], None] | None = None,
    feature_names: Sequence[str] | None = None,
) -> FittedMixture:
    """Maximum-likelihood fit of `p(y|x) = Σ_k π_k(x) f_k(y|x)`.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) or (n, D) array
    n_experts : int
        Number of experts K.
    gate, expert : str or object
        `"softmax"`, `"constant"`, or a gate; `"gaussian"` or an expert.
    sample_weight : (n,) array, optional
        Non-negative weights; an integer weight is the same as repeating the row.
    offset : (n,) array, optional
        Added to the first predictor of every expert, as the logarithm of an exposure under a log link.
    gate_features, expert_features : sequence of int, optional
        Columns that gate and experts use; default all.
    init : str, dict, (n, K) array or list of Start
        Kind of starts (`"kmeans"`, `"kmeans_x"`, `"kmeans_y"`, `"residuals"`, `"cells"`, `"lines"`, `"random"`), parameters (one start from exactly
        there), responsibilities, or a list of `Start`.
    n_init : int
        Number of starts when `init` is a name.
    solver : {"auto", "em", "squarem", "newton", "lbfgs", "cem"} or Solver
    tol : float
        Nats of the whole sample that may still be gained (Newton decrement).
    max_iter : int
        Iterations of one start.
    gate_l2 : float
        Penalty `gate_l2/2 Σ_k |γ_k - γ̄|²` on the gate's slopes in units in which the features are uncorrelated with unit variance.
    variance_floor : float
        Smallest variance of an expert relative to the variance of y (at least 1e-12).
    box : dict, optional
        Bounds `name: (lower, upper)` on raw parameters, in the gauge with the last gate at zero.
    rng : Generator or int, optional
        Randomness of the starts.
    n_jobs : int
        Threads over blocks of rows; results do not depend on it.
    callback : callable, optional
        Called as `callback(iteration, loglik)`.
    feature_names : sequence of str, optional

    Returns
    -------
    FittedMixture
        Experts are ordered by decreasing average gate probability, unless `box` or a list of starts fixes their order.

    Raises
    ------
    ValueError
        If an argument or the data cannot be used; the message says which, and what would be right.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.fitting import fit_mixture
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.where(x[:, 0] > 0, 2 * x[:, 0], -3 * x[:, 0]) + 0.1 * np.sin(40 * x[:, 0])
    >>> fitted = fit_mixture(x, y, rng=0)
    >>> fitted.result.converged
    True
    """
    began = time.perf_counter()
    data = checks.data(X, y, sample_weight, n_experts, offset)
    resolved_gate, resolved_expert = resolve_gate(gate), resolve_expert(expert)
    checks.fits_together(resolved_gate, resolved_expert, gate_l2, data)
    check_use(solver, LIKELIHOOD, "a likelihood")
    checks.settings(
        solver=solver,
        solvers=LIKELIHOOD,
        n_init=n_init,
        tol=tol,
        max_iter=max_iter,
        gate_l2=gate_l2,
        variance_floor=variance_floor,
        n_jobs=n_jobs,
    )
    d = data.X.shape[1]
    explicit = explicit_starts(init)
    boxed = box is not None or bool(explicit and any(s.box is not None for s in explicit))
    if boxed and (solver if isinstance(solver, str) else solver.name) in ("em", "squarem", "cem"):
        raise ValueError(
            f"solver={solver!r} cannot respect a box (its M-step is unconstrained); use 'auto', 'newton' or 'lbfgs'."
        )
    coordinates = Coordinates.choose(
        data.X,
        data.y,
        data.weight,
        gate=resolved_gate,
        expert=resolved_expert,
        n_experts=n_experts,
        gate_columns=checks.columns(gate_features, d, "gate_features"),
        expert_columns=checks.columns(expert_features, d, "expert_features"),
        raw=boxed,
        vector_y=data.vector_y,
        feature_names=feature_names,
    )

    def objective_of(rows: checks.Data, box: Box | None, n_jobs: int = 1) -> Objective:
        bounds = None if box is None else coordinates.bounds(box)
        return coordinates.objective(rows, gate_l2=gate_l2, variance_floor=variance_floor, bounds=bounds, n_jobs=n_jobs)

    # numbers that overflow on the way (an expert on one row, say) are met by explicit checks
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        objective, outcome = search(
            data, coordinates, objective_of, init, n_init, solver, box, tol, max_iter, rng, n_jobs, callback
        )
        fixed_order = boxed or (explicit is not None and len(explicit) > 1)
        return report(outcome, objective, coordinates, fixed_order, solver, gate_l2, began)


def search(
    data: checks.Data,
    coordinates: Coordinates,
    objective_of: Callable[..., Objective],
    init: Any,
    n_init: int,
    solver: str | Solver,
    box: Box | None,
    tol: float,
    max_iter: int,
    rng: np.random.Generator | int | None,
    n_jobs: int,
    callback: Callable[[int, float], None] | None,
) -> tuple[Objective, Outcome]:
    """From starts to the best end: the objective of the data (`objective_of(rows, box, n_jobs)` makes it) and the outcome."""
    explicit, n_experts = explicit_starts(init), coordinates.layout.n_experts
    settings: dict[str, Any] = {"tol": tol, "max_iter": max_iter, "callback": callback}
    if callback is not None:
        settings["callback"] = _in_units_of_y(callback, coordinates, data)
    if explicit is not None and any(s.box is not None for s in explicit):
        return _own_boxes(solver, explicit, box, lambda b: objective_of(data, b, n_jobs), coordinates, settings)
    objective = objective_of(data, box, n_jobs)
    starts, sample = _starts(init, explicit, n_init, n_experts, coordinates, objective, data, objective_of, box, rng)
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
    rng: np.random.Generator | int | None,
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
    generator = np.random.default_rng(rng)
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
