"""What a fitted estimator tells: attributes, predictions, information criteria, inference."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from moestat.inference import criteria
from moestat.mixture import ConditionalMixture
from moestat.solvers.base import FitResult

if TYPE_CHECKING:
    from moestat.inference import InferenceResults
    from moestat.losses.measures import Measure

Array = NDArray[np.float64]


def generator(random_state: Any) -> np.random.Generator:
    """A Generator from None, an int, a Generator, or a RandomState.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"random_state={random_state!r} must be None, an int, a Generator or a RandomState."
        ) from error


class FittedMoE(BaseEstimator):  # type: ignore[misc]
    """The fitted side of the estimators: everything reads `model_` (the density) and `result_` (the report)."""

    model_: ConditionalMixture
    result_: FitResult

    # -- fitted attributes ------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _param(self, name: str) -> Array:
        if not hasattr(self, "model_"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet; call fit first.")
        params = self.model_.params
        if name not in params:
            raise AttributeError(f"this model has no {name}_; it has {', '.join(f'{key}_' for key in params)}.")
        return params[name]

    def __getattr__(self, name: str) -> Array:
        """Every entry of the parameter dictionary is an attribute: `expert_dispersion_`, `gate_location_`, …"""
        if name.startswith(("expert_", "gate_")) and name.endswith("_") and "model_" in self.__dict__:
            return self._param(name[:-1])
        if name.endswith("_") and not name.startswith("_") and "model_" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is not fitted yet, so it has no {name}; call fit first.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def gate_coef_(self) -> Array:
        """Gate slopes `(K, d)`, the last row zero."""
        return self._param("gate_coef")

    @property
    def gate_intercept_(self) -> Array:
        """Gate intercepts `(K,)`, the last zero."""
        return self._param("gate_intercept")

    @property
    def expert_coef_(self) -> Array:
        """Expert slopes `(K, p)` on the raw monomials; `(K, D, p)` for several responses."""
        return self._param("expert_coef")

    @property
    def expert_intercept_(self) -> Array:
        """Expert intercepts `(K,)` or `(K, D)`."""
        return self._param("expert_intercept")

    @property
    def expert_scale_(self) -> Array:
        """Standard deviations of the experts, `(K,)` or `(K, D)`."""
        return self._param("expert_scale")

    @property
    def noise_std_(self) -> float:
        """Standard deviation of the noise of a least-squares fit; others have no such attribute."""
        model: Any = self.model_
        return float(model.noise_std)

    @property
    def mixing_measure_(self) -> Measure:
        """The mixing measure of the fit."""
        check_is_fitted(self)
        return self.model_.mixing_measure()

    @property
    def loglik_(self) -> float:
        """Log-likelihood of the training sample."""
        return self._result().loglik

    @property
    def converged_(self) -> bool:
        """Whether the certificate holds."""
        return self._result().converged

    @property
    def n_iter_(self) -> int:
        """Iterations of the best start."""
        return self._result().n_iter

    def _result(self) -> FitResult:
        if not hasattr(self, "result_"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet; call fit first.")
        return self.result_

    # -- prediction -------------------------------------------------------------------------------------------------

    def _X(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=np.float64, order=None, reset=False))

    def _y(self, y: ArrayLike) -> ArrayLike:
        """Responses as the model has them; a classifier numbers its labels."""
        return y

    def predict(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Mean response `Σ_k π_k(x) μ_k(x)`, `(n,)` or `(n, D)`; `offset (n,)` is added to the experts' first predictor."""
        X = self._X(X)
        out = self.model_.mean(X, offset)
        if not np.isfinite(out).all():
            warnings.warn(
                "the mean of an expert does not exist or overflows (a Student t with at most one degree of freedom, say); "
                "use predict_quantile(X, 0.5).",
                RuntimeWarning,
                stacklevel=2,
            )
        return out

    def gate_proba(self, X: ArrayLike) -> Array:
        """Gate probabilities `π_k(x)`, `(n, K)`."""
        X = self._X(X)
        return self.model_.gate_proba(X)

    def responsibilities(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Posterior probabilities of the experts given `(x, y)`, `(n, K)`."""
        X = self._X(X)
        return self.model_.responsibilities(X, self._y(y), offset)

    def log_density(self, X: ArrayLike, y: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """`log p(y|x)`, `(n,)`."""
        X = self._X(X)
        return self.model_.log_density(X, self._y(y), offset)

    def log_likelihood(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, offset: ArrayLike | None = None
    ) -> float:
        """(Weighted) log-likelihood of data."""
        values = self.log_density(X, y, offset)
        return float(values.sum() if sample_weight is None else np.asarray(sample_weight, dtype=float) @ values)

    def predict_quantile(self, X: ArrayLike, q: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Exact quantiles of the predictive mixture: `(n,)` for one level, `(n, len(q))` for several."""
        X = self._X(X)
        self._one_response("predict_quantile")
        return self.model_.quantile(X, q, offset)

    def predict_interval(self, X: ArrayLike, level: float = 0.9, offset: ArrayLike | None = None) -> Array:
        """Central prediction interval `(n, 2)` with the exact quantiles of the mixture (parameters taken as known).

        Raises
        ------
        ValueError
            If `level` is not strictly between 0 and 1, or there are several responses.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level!r} must be strictly between 0 and 1.")
        X = self._X(X)
        self._one_response("predict_interval")
        return self.model_.quantile(X, [0.5 - 0.5 * level, 0.5 + 0.5 * level], offset)

    def _one_response(self, method: str) -> None:
        number = self.model_.n_responses
        if number > 1 and not self.model_.expert.intervals:
            raise ValueError(
                f"{method} is defined for one response; this fit has {number}. See predict_std and sample."
            )

    def predict_std(self, X: ArrayLike, offset: ArrayLike | None = None) -> Array:
        """Standard deviation of the response given x."""
        X = self._X(X)
        return self.model_.std(X, offset)

    def sample(self, X: ArrayLike, random_state: Any = None, offset: ArrayLike | None = None) -> Array:
        """Draw one response for each row of X."""
        X = self._X(X)
        return np.asarray(self.model_.sample(X, generator(random_state), offset=offset))

    # -- model selection and inference ------------------------------------------------------------------------------

    @property
    def n_parameters_(self) -> int:
        """Number of free parameters; what collinear columns or the gate's invariances leave undetermined does not count."""
        self._result()
        layout = self.model_.layout
        return layout.n_params - layout.gate.null_directions(layout.n_experts, layout.q_gate)

    def aic(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, offset: ArrayLike | None = None
    ) -> float:
        """`-2 loglik + 2 p`, of the weighted log-likelihood; smaller is better."""
        return criteria.aic(self.log_likelihood(X, y, sample_weight, offset), self.n_parameters_)

    def bic(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, offset: ArrayLike | None = None
    ) -> float:
        """`-2 loglik + p log n`, n the sum of the weights; smaller is better."""
        loglik = self.log_likelihood(X, y, sample_weight, offset)
        nobs = np.shape(y)[0] if sample_weight is None else np.sum(np.asarray(sample_weight, dtype=float))
        return criteria.bic(loglik, self.n_parameters_, float(nobs))

    def icl(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, offset: ArrayLike | None = None
    ) -> float:
        """BIC plus twice the entropy of the responsibilities (Biernacki, Celeux & Govaert 2000); smaller is better."""
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
        loglik = self.log_likelihood(X, y, sample_weight, offset)
        return criteria.icl(loglik, self.n_parameters_, self.responsibilities(X, y, offset), weight)

    def inference(
        self,
        X: ArrayLike,
        y: ArrayLike,
        cov_type: str = "observed",
        *,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> InferenceResults:
        """Standard errors of experts and gate; see `moestat.inference.infer`.

        Parameters
        ----------
        cov_type : {"observed", "opg", "sandwich", "cluster", "classical"}
        groups : (n,) array
            Cluster labels for `"cluster"`.
        """
        from moestat.inference import infer

        checked = self._X(X)
        return infer(
            self.model_,
            checked,
            self._y(y),
            sample_weight=sample_weight,
            offset=offset,
            cov_type=cov_type,  # type: ignore[arg-type]
            groups=groups,
            certificate=self.result_.certificate,
            active_bounds=(*self.result_.active_bounds, *self._floored_names()),
            gate_l2=float(getattr(self, "gate_l2", 0.0)),
            response_name=getattr(y, "name", None),
        )

    def _floored_names(self) -> list[str]:
        """Names of the scale parameters of experts on the variance floor: they are no interior estimates."""
        experts = [f"expert[{k}]:" for k in self.result_.floored] + (["expert:"] if self.result_.floored else [])
        labels = self.model_.expert.spike_labels
        return [
            name
            for name in self.model_.free_names()
            if any(name.startswith(e) for e in experts) and name.partition(":")[2].startswith(labels)
        ]
