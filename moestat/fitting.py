"""Fit a mixture of experts: data in, certified maximiser out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moestat import checks
from moestat.coordinates import Coordinates
from moestat.experts.base import BaseExpert
from moestat.gates.base import Gate
from moestat.linalg import one_blas_thread
from moestat.objective import Objective
from moestat.registry import resolve_expert, resolve_gate
from moestat.report import FittedMixture, report
from moestat.search import Box, Start, explicit_starts, search
from moestat.solvers import LIKELIHOOD, check_use
from moestat.solvers.base import Solver
from moestat.sparsity import with_gate_messages, with_threshold

Array = NDArray[np.float64]

__all__ = ["FittedMixture", "Start", "fit_mixture"]


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
    resolved_gate, resolved_expert = resolve_gate(gate), resolve_expert(expert)
    data = checks.data(X, y, sample_weight, n_experts, offset, intervals=resolved_expert.intervals)
    checks.fits_together(resolved_gate, resolved_expert, gate_l2, data)
    if resolved_gate.open_threshold:
        warm = fit_mixture(
            X, y, n_experts, gate=resolved_gate.dense(), expert=resolved_expert, sample_weight=sample_weight, offset=offset,
            gate_features=gate_features, expert_features=expert_features, init=init, n_init=n_init, gate_l2=gate_l2,
            variance_floor=variance_floor, box=box, rng=rng, n_jobs=n_jobs,
        ).mixture  # fmt: skip
        resolved_gate = with_threshold(resolved_gate, warm, data)
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
        )
        fixed_order = boxed or (explicit is not None and len(explicit) > 1)
        fitted = report(outcome, objective, coordinates, fixed_order, solver, gate_l2, began)
        result = with_gate_messages(fitted.result, resolve_gate(gate), objective, outcome.best.state.theta)
        return FittedMixture(fitted.mixture, result)
