"""Fit a regression function by least squares: data in, certified minimiser out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat import checks
from moestat.blocks import Rows
from moestat.coordinates import Coordinates, weighted_center_scale
from moestat.experts.base import BaseExpert
from moestat.experts.means import MeanExpert, mean_of
from moestat.gates.base import Gate
from moestat.least_squares import LeastSquaresObjective, check_gate
from moestat.linalg import one_blas_thread
from moestat.registry import resolve_expert, resolve_gate
from moestat.regression_function import RegressionFunction
from moestat.regression_starts import scattered
from moestat.report import report
from moestat.search import Box, explicit_starts, search
from moestat.solvers import LEAST_SQUARES, check_use
from moestat.solvers.base import FitResult, Solver, Status
from moestat.sparsity import with_gate_messages, with_threshold

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FittedRegression:
    """The fitted regression function and the report of the fit."""

    function: RegressionFunction
    result: FitResult


def fit_least_squares(
    X: ArrayLike,
    y: ArrayLike,
    n_experts: int = 2,
    *,
    gate: str | Gate = "softmax",
    expert: str | BaseExpert = "gaussian",
    sample_weight: ArrayLike | None = None,
    gate_features: Sequence[int] | None = None,
    expert_features: Sequence[int] | None = None,
    init: Any = "kmeans",
    n_init: int = 10,
    solver: str | Solver = "auto",
    tol: float = 1e-8,
    max_iter: int = 1000,
    gate_l2: float = 0.0,
    box: Box | None = None,
    rng: np.random.Generator | int | None = None,
    n_jobs: int = 1,
    callback: Callable[[int, float], None] | None = None,
    feature_names: Sequence[str] | None = None,
) -> FittedRegression:
    """Least-squares fit of `f(x) = Σ_k g_k(x) h_k(x)`: minimise `Σ_i w_i (y_i - f(x_i))²`.

    Values are reported as log-likelihoods of normal noise with the variance `Σ w e²/Σ w`, so that tolerances and certificates mean nats of
    the whole sample, as for `fit_mixture`.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) or (n, 1) array
    n_experts : int
        Number of experts K.
    gate : str or gate
        Any gate whose weights depend on x; they need not sum to one (`"sigmoid"`, `PrototypeGate(combine="mean")`).
    expert : str or expert
        `"gaussian"`: means that are polynomials; `"nonlinear"`, or `NonlinearExpert(activation=...)`.
    solver : {"auto", "lm", "newton", "lbfgs"} or Solver
        "auto": Levenberg–Marquardt with variable projection, then trust-region Newton on the exact Hessian. Nonlinear experts start from
        partitions and from random directions, whichever is better after a few steps.
    sample_weight, gate_features, expert_features, init, n_init, tol, max_iter, gate_l2, box, rng, n_jobs, callback, feature_names
        As of `fit_mixture`.

    Returns
    -------
    FittedRegression
        Experts are ordered by decreasing average weight, unless `box` or a list of starts fixes their order.

    Raises
    ------
    ValueError
        If an argument or the data cannot be used; the message says which, and what would be right.

    Notes
    -----
    More linear experts than the truth has leave the parameters unidentified, although f is not: equal gates and any slopes with the
    same weighted mean are the same f (Nguyen, Ho & Rinaldo, "On least squares estimation in softmax gating mixture of experts", 2024).

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.regression_fitting import fit_least_squares
    >>> x = np.linspace(-3, 3, 200)[:, None]
    >>> y = np.tanh(2 * x[:, 0]) / (1 + np.exp(-x[:, 0])) + 0.01 * np.sin(40 * x[:, 0])
    >>> fitted = fit_least_squares(x, y, 2, rng=0)
    >>> fitted.result.converged
    True
    """
    began = time.perf_counter()
    data = replace(checks.data(X, y, sample_weight, n_experts), vector_y=True)
    resolved, mean = resolve_gate(gate), mean_of(resolve_expert(expert))
    check_gate(resolved)
    checks.penalty(resolved, gate_l2)
    if resolved.open_threshold:
        warm = fit_least_squares(
            X, y, n_experts, gate=resolved.dense(), expert=expert, sample_weight=sample_weight, gate_features=gate_features,
            expert_features=expert_features, init=init, n_init=n_init, gate_l2=gate_l2, box=box, rng=rng, n_jobs=n_jobs,
        ).function  # fmt: skip
        resolved = with_threshold(resolved, warm, data)
    check_use(solver, LEAST_SQUARES, "least squares")
    checks.settings(
        solver=solver,
        solvers=LEAST_SQUARES,
        n_init=n_init,
        tol=tol,
        max_iter=max_iter,
        gate_l2=gate_l2,
        variance_floor=0.0,
        n_jobs=n_jobs,
    )
    d = data.X.shape[1]
    explicit = explicit_starts(init)
    boxed = box is not None or bool(explicit and any(s.box is not None for s in explicit))
    coordinates = _coordinates(
        data,
        gate=resolved,
        mean=mean,
        n_experts=n_experts,
        gate_columns=checks.columns(gate_features, d, "gate_features"),
        expert_columns=checks.columns(expert_features, d, "expert_features"),
        raw=boxed,
        feature_names=feature_names,
    )

    def objective_of(rows: checks.Data, box: Box | None, n_jobs: int = 1) -> LeastSquaresObjective:
        maps = (coordinates.gate_map, coordinates.expert_map)
        built = Rows.build(rows.X, rows.y, rows.weight, maps, coordinates.y_center, coordinates.y_scale)
        bounds = None if box is None else coordinates.bounds(box)
        metric = coordinates.gate_metric
        return LeastSquaresObjective(
            built, coordinates.layout, gate_l2=gate_l2, gate_metric=metric, bounds=bounds, n_jobs=n_jobs
        )

    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        objective, outcome = search(
            data,
            coordinates,
            objective_of,
            solver,
            init,
            n_init=n_init,
            box=box,
            rng=rng,
            n_jobs=n_jobs,
            tol=tol,
            max_iter=max_iter,
            callback=callback,
            scatter=None if mean.linear else scattered,
        )
        assert isinstance(objective, LeastSquaresObjective)
        fixed_order = boxed or (explicit is not None and len(explicit) > 1)
        fitted = report(outcome, objective, coordinates, fixed_order, solver, gate_l2, began)
        variance, inexact = objective.variance(objective.squares(outcome.best.state.theta))
    noise = float(np.sqrt(variance) * coordinates.y_scale[0])
    result, said = with_gate_messages(fitted.result, resolve_gate(gate), objective, outcome.best.state.theta), []
    if inexact and result.certificate.singular:
        said = mean.degeneracies() or [_singular(result)]
    elif not inexact and result.converged:
        result = replace(result, status=Status.CERTIFIED)
        said = ["the fit is exact to rounding: there is no noise to speak of, and no standard error."]
    result = replace(result, messages=(*result.messages, *said))
    return FittedRegression(RegressionFunction.of(fitted.mixture, noise), result)


def _coordinates(data: checks.Data, *, gate: Gate, mean: MeanExpert, raw: bool, **settings: Any) -> Coordinates:
    """As of the likelihood; responses are standardised where f moves with them: shifts need weights that sum to one."""
    out = Coordinates.choose(data.X, data.y, data.weight, gate=gate, expert=mean, raw=raw, vector_y=True, **settings)
    if raw or not mean.linear:
        return out
    center, deviation = weighted_center_scale(data.y, data.weight if data.weight.size else None)
    if not gate.normalised:
        center = np.zeros(1)
    return replace(out, y_center=center, y_scale=np.where(deviation > 0.0, deviation, 1.0))


def _singular(result: FitResult) -> str:
    """What to say where the data do not identify all parameters, and the experts' own symmetries do not say why."""
    certificate = result.certificate
    return (
        f"the data identify {certificate.rank} of {certificate.n_params} combinations of the parameters: other coefficients, or ever larger "
        "ones, give the same regression function to rounding. Use fewer experts, or a box, for unique coefficients."
    )
