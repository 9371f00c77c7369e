"""Regressors: mixtures of Gaussian experts under the scikit-learn contract."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin

from moestat.estimators.base import BaseMoE
from moestat.estimators.documentation import document
from moestat.experts.base import BaseExpert
from moestat.experts.gaussian import GaussianExpert
from moestat.gates.base import Gate
from moestat.registry import resolve_expert


class MoERegressor(RegressorMixin, BaseMoE):  # type: ignore[misc]
    """Mixture of experts for regression: `p(y|x) = Σ_k π_k(x) f_k(y|x)`, any gate and any expert.

    {common}
    Examples
    --------
    >>> import numpy as np
    >>> import moestat as ms
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-1, 1, (500, 1))
    >>> truth = ms.ConditionalMixture(params={{
    ...     "gate_coef": [[4.0], [0.0]], "gate_intercept": [0.5, 0.0],
    ...     "expert_coef": [[-2.0], [2.0]], "expert_intercept": [1.0, -1.0], "expert_scale": [0.5, 0.4]}})
    >>> y = truth.sample(x, rng)
    >>> est = ms.MoERegressor(n_experts=2, random_state=0).fit(x, y)
    >>> est.converged_
    True
    >>> bool(np.abs(np.sort(est.expert_coef_[:, 0]) - [-2, 2]).max() < 0.2)
    True
    """

    def __init__(
        self,
        n_experts: int = 2,
        *,
        gate: str | Gate = "softmax",
        expert: str | BaseExpert = "gaussian",
        degree: int = 1,
        objective: str = "likelihood",
        solver: Any = "auto",
        n_init: int = 10,
        init: Any = "kmeans",
        tol: float = 1e-8,
        max_iter: int = 1000,
        gate_l2: float = 0.0,
        variance_floor: float = 1e-6,
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
        self.objective = objective
        self.solver = solver
        self.n_init = n_init
        self.init = init
        self.tol = tol
        self.max_iter = max_iter
        self.gate_l2 = gate_l2
        self.variance_floor = variance_floor
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

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """R² of the mean response; of the share of successes for binomial responses with a column of trials.

        Raises
        ------
        ValueError
            For intervals, which have no R²; use `log_likelihood`.
        """
        target = np.asarray(y, dtype=float)
        if target.ndim == 2 and hasattr(self, "model_"):
            expert = self.model_.expert
            if expert.intervals:
                raise ValueError("intervals have no R²; compare models by log_likelihood, aic or bic.")
            if expert.name == "binomial" and target.shape[1] == 2:
                target = target[:, 0] / np.where(target[:, 1] > 0, target[:, 1], 1.0)
        return float(super().score(X, target, sample_weight))


class GaussianMoERegressor(RegressorMixin, BaseMoE):  # type: ignore[misc]
    """Mixture of Gaussian linear (or polynomial) regressions with covariate-dependent weights.

    `p(y|x) = Σ_k π_k(x) N(y; a_kᵀφ(x) + b_k, σ_k²)` (Jacobs, Jordan, Nowlan & Hinton 1991; Jordan & Jacobs 1994).

    {common}
    Examples
    --------
    >>> import moestat as ms
    >>> X, y = ms.datasets.load_tonedata(return_X_y=True)
    >>> est = ms.GaussianMoERegressor(n_experts=2, random_state=0).fit(X, y)
    >>> round(est.loglik_, 6)
    142.848014
    """

    def __init__(
        self,
        n_experts: int = 2,
        *,
        gate: str | Gate = "softmax",
        degree: int = 1,
        variance: Any = "free",
        covariance: str = "full",
        solver: Any = "auto",
        n_init: int = 10,
        init: Any = "kmeans",
        tol: float = 1e-8,
        max_iter: int = 1000,
        gate_l2: float = 0.0,
        variance_floor: float = 1e-6,
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
        self.degree = degree
        self.variance = variance
        self.covariance = covariance
        self.solver = solver
        self.n_init = n_init
        self.init = init
        self.tol = tol
        self.max_iter = max_iter
        self.gate_l2 = gate_l2
        self.variance_floor = variance_floor
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.gate_features = gate_features
        self.expert_features = expert_features
        self.box = box

    def _gate(self) -> str | Gate:
        return self.gate

    def _expert(self) -> GaussianExpert:
        return GaussianExpert(self.degree, self.variance, self.covariance)  # type: ignore[arg-type]


class PolynomialMoERegressor(GaussianMoERegressor):
    """Mixture of Gaussian polynomial regressions: `GaussianMoERegressor` with `degree=2` by default.

    The monomials of all columns up to the total degree are orthonormalised inside and reported raw.

    {common}
    Examples
    --------
    >>> import moestat as ms
    >>> X, y = ms.datasets.load_tonedata(return_X_y=True)
    >>> est = ms.PolynomialMoERegressor(n_experts=2, gate="constant", random_state=0).fit(X, y)
    >>> est.expert_coef_.shape
    (2, 2)
    """

    def __init__(
        self,
        n_experts: int = 2,
        *,
        gate: str | Gate = "softmax",
        degree: int = 2,
        variance: Any = "free",
        covariance: str = "full",
        solver: Any = "auto",
        n_init: int = 10,
        init: Any = "kmeans",
        tol: float = 1e-8,
        max_iter: int = 1000,
        gate_l2: float = 0.0,
        variance_floor: float = 1e-6,
        warm_start: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        gate_features: Any = None,
        expert_features: Any = None,
        box: Any = None,
    ) -> None:
        super().__init__(
            n_experts,
            gate=gate,
            degree=degree,
            variance=variance,
            covariance=covariance,
            solver=solver,
            n_init=n_init,
            init=init,
            tol=tol,
            max_iter=max_iter,
            gate_l2=gate_l2,
            variance_floor=variance_floor,
            warm_start=warm_start,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
            gate_features=gate_features,
            expert_features=expert_features,
            box=box,
        )


_GAUSSIAN = """    degree : int, default {degree}
        Total degree of the experts' polynomials.
    variance : {{"free", "tied"}} or float or array, default "free"
        One variance an expert, one for all, or known standard deviations.
    covariance : {{"full", "diag", "spherical"}}, default "full"
        Form of the covariances when y has several columns.
"""
document(
    MoERegressor,
    """    expert : str or expert, default "gaussian"
        A family: "gaussian", "student_t", "poisson", "gamma", …, or an object of `moestat.experts`.
    degree : int, default 1
        Degree of the experts' polynomials, for an expert given by name.
    objective : {"likelihood", "least_squares"}, default "likelihood"
        "least_squares" fits the mean `Σ_k π_k(x) h_k(x)` with one noise for all: `model_` is then a `RegressionFunction`, `noise_std_` the noise, and
        `variance_floor` means nothing. Solvers: "auto", "lm", "newton", "lbfgs".
""",
)
document(GaussianMoERegressor, _GAUSSIAN.format(degree=1))
document(PolynomialMoERegressor, _GAUSSIAN.format(degree=2))
