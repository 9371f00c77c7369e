"""Regressor with sigmoid gates, by least squares, under the scikit-learn contract."""

from __future__ import annotations

from typing import Any

from sklearn.base import RegressorMixin

from moestat.estimators.base import BaseMoE
from moestat.experts.base import BaseExpert
from moestat.gates.base import Gate
from moestat.registry import resolve_expert


class SigmoidMoERegressor(RegressorMixin, BaseMoE):  # type: ignore[misc]
    """Least squares with sigmoid gates: `f(x) = Σ_k σ(β0_k + β1_kᵀx) h_k(x)`, weights that do not sum to one.

    The estimator of Nguyen, Ho & Rinaldo ("Sigmoid gating is more sample efficient than softmax gating in mixture of experts",
    2024). `MoERegressor(objective="least_squares")` is the same with gates whose weights sum to one.

    Parameters
    ----------
    n_experts : int, default 2
        Number of experts K.
    gate : str or gate, default "sigmoid"
        `moestat.gates.SigmoidGate(degree=2)` has scores of another degree.
    expert : str or expert, default "gaussian"
        "gaussian": means that are polynomials; "nonlinear", or an object as `moestat.experts.NonlinearExpert(activation="relu")`.
    degree : int, default 1
        Degree of the experts' polynomials, for an expert given by name.
    solver : {"auto", "lm", "newton", "lbfgs"}, default "auto"
    n_init, init, tol, max_iter, gate_l2, warm_start, random_state, n_jobs, verbose, gate_features, expert_features, box
        As of `MoERegressor`.

    Attributes
    ----------
    model_ : RegressionFunction
    noise_std_ : float
        Standard deviation of the noise, `sqrt(Σ w e²/Σ w)`.
    gate_coef_, gate_intercept_, expert_coef_, expert_intercept_, result_, loglik_, converged_, n_iter_
        As of `MoERegressor`; no gate is pinned.

    Notes
    -----
    With linear experts more of them than the truth has leave the parameters unidentified (Nguyen et al. 2024, regime 2); the
    predictions are unaffected, and a warning says so.

    Examples
    --------
    >>> import numpy as np
    >>> import moestat as ms
    >>> x = np.linspace(-3, 3, 300)[:, None]
    >>> y = (1 + x[:, 0]) / (1 + np.exp(-2 * x[:, 0])) + np.random.default_rng(0).normal(0, 0.1, 300)
    >>> est = ms.SigmoidMoERegressor(n_experts=1, random_state=0).fit(x, y)
    >>> bool(est.converged_ and abs(est.noise_std_ - 0.1) < 0.01)
    True
    """

    objective = "least_squares"

    def __init__(
        self,
        n_experts: int = 2,
        *,
        gate: str | Gate = "sigmoid",
        expert: str | BaseExpert = "gaussian",
        degree: int = 1,
        solver: Any = "auto",
        n_init: int = 10,
        init: Any = "kmeans",
        tol: float = 1e-8,
        max_iter: int = 1000,
        gate_l2: float = 0.0,
        warm_start: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        gate_features: Any = None,
        expert_features: Any = None,
        box: Any = None,
    ) -> None:
        self.n_experts = n_experts
        self.gate = gate
        self.expert = expert
        self.degree = degree
        self.solver = solver
        self.n_init = n_init
        self.init = init
        self.tol = tol
        self.max_iter = max_iter
        self.gate_l2 = gate_l2
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.gate_features = gate_features
        self.expert_features = expert_features
        self.box = box

    def _gate(self) -> str | Gate:
        return self.gate

    def _expert(self) -> BaseExpert:
        return resolve_expert(self.expert, self.degree)
