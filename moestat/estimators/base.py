"""What the estimators share: validation, fitting, warnings, fitted attributes, saving."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from moestat.estimators.state import mixture_from_state, mixture_state, result_from_state, result_state
from moestat.exceptions import CollinearityWarning, ConvergenceWarning, DegeneracyWarning, SeparationWarning
from moestat.experts.gaussian import GaussianExpert
from moestat.fitting import fit_mixture
from moestat.gates.base import Gate
from moestat.inference import criteria
from moestat.mixture import ConditionalMixture
from moestat.solvers.base import FitResult, Status

if TYPE_CHECKING:
    from moestat.inference import InferenceResults
    from moestat.mixing_measure import MixingMeasure

Array = NDArray[np.float64]

logger = logging.getLogger("moestat")


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


def column_numbers(selection: Any, names: Sequence[str] | None, n_features: int, what: str) -> list[int] | None:
    """Column numbers of a selection: None, names, numbers, a slice or a boolean mask.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    if selection is None:
        return None
    if isinstance(selection, slice):
        return list(range(n_features))[selection]
    chosen = [selection] if isinstance(selection, (str, int, np.integer)) else list(selection)
    if chosen and all(isinstance(c, (bool, np.bool_)) for c in chosen):
        if len(chosen) != n_features:
            raise ValueError(f"{what} is a mask of length {len(chosen)}; X has {n_features} columns.")
        return [j for j, keep in enumerate(chosen) if keep]
    out = []
    for c in chosen:
        if isinstance(c, str):
            if names is None or c not in names:
                known = "X has no column names" if names is None else f"the columns are {list(names)}"
                raise ValueError(f"{what} names the column {c!r}, but {known}.")
            out.append(list(names).index(c))
        else:
            out.append(int(c))
    return out


class BaseMoE(BaseEstimator):  # type: ignore[misc]
    """Common part of the estimators; subclasses say which gate and expert objects their parameters mean."""

    n_experts: int
    solver: Any
    n_init: int
    init: Any
    tol: float
    max_iter: int
    gate_l2: float
    variance_floor: float
    warm_start: bool
    random_state: Any
    n_jobs: int | None
    verbose: int
    gate_features: Any
    expert_features: Any
    box: Any

    model_: ConditionalMixture
    result_: FitResult

    def _gate(self) -> str | Gate:
        raise NotImplementedError

    def _expert(self) -> GaussianExpert:
        raise NotImplementedError

    def set_params(self, **params: Any) -> BaseMoE:
        """Set parameters; `gate__…` and `expert__…` replace the component by a changed copy (components are immutable)."""
        nested: dict[str, dict[str, Any]] = {}
        plain: dict[str, Any] = {}
        for key, value in params.items():
            name, _, sub = key.partition("__")
            if sub:
                nested.setdefault(name, {})[sub] = value
            else:
                plain[key] = value
        super().set_params(**plain)
        for name, changes in nested.items():
            component = getattr(self, name, None)
            if not is_dataclass(component) or isinstance(component, type):
                raise ValueError(f"{name}={component!r} has no parameters to set; give a component object, not a name.")
            unknown = sorted(set(changes) - set(component.get_params()))  # type: ignore[attr-defined]
            if unknown:
                raise ValueError(f"{name}={component!r} has no parameter {unknown[0]!r}.")
            setattr(self, name, replace(component, **changes))
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.required = True
        return tags

    # -- fitting ----------------------------------------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> BaseMoE:
        """Fit by maximum likelihood.

        Parameters
        ----------
        X : (n, d) array or data frame
        y : (n,) or (n, D) array
        sample_weight : (n,) array, optional
            Non-negative; an integer weight is the same as repeating the row.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter cannot be used; the message says which and what would be right.

        Warns
        -----
        ConvergenceWarning, DegeneracyWarning, SeparationWarning, CollinearityWarning
            With what to do about it.
        """
        previous = self.model_ if self.warm_start and hasattr(self, "model_") else None
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        data, target = validate_data(
            self, X, y, dtype=np.float64, order=None, multi_output=True, y_numeric=True, ensure_min_samples=2
        )
        target = np.asarray(target, dtype=np.float64)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, data, dtype=np.float64, ensure_non_negative=True)
        names = getattr(self, "feature_names_in_", None)
        names = None if names is None else [str(c) for c in names]
        d = data.shape[1]
        fitted = fit_mixture(
            data,
            target,
            self.n_experts,
            gate=self._gate(),
            expert=self._expert(),
            sample_weight=sample_weight,
            gate_features=column_numbers(self.gate_features, names, d, "gate_features"),
            expert_features=column_numbers(self.expert_features, names, d, "expert_features"),
            init=self.init if previous is None else previous.params,
            n_init=self.n_init,
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            gate_l2=self.gate_l2,
            variance_floor=self.variance_floor,
            box=self.box,
            rng=generator(self.random_state),
            n_jobs=self._threads(),
            callback=_progress if self.verbose else None,
            feature_names=names,
        )
        self.model_, self.result_ = fitted.mixture, fitted.result
        if self.verbose:
            _stderr_logger().info("%s. %s", self.result_.status.name, self.result_.certificate)
        self._warn()
        return self

    def _threads(self) -> int:
        n_jobs: Any = 1 if self.n_jobs is None else self.n_jobs
        if not isinstance(n_jobs, Integral) or n_jobs == 0:
            raise ValueError(f"n_jobs={self.n_jobs!r} must be a positive integer, None (one) or -1 (all cores).")
        number = int(n_jobs)
        return number if number > 0 else max((os.cpu_count() or 1) + 1 + number, 1)

    def _warn(self) -> None:
        """One warning for each thing that needs an action."""
        result = self.result_
        if result.status is Status.SEPARATED:
            warnings.warn(f"{result.status.value} {self._separation_text()}", SeparationWarning, stacklevel=3)
        elif result.status is Status.DEGENERATE:
            which = ", ".join(str(k) for k in result.floored)
            warnings.warn(f"Expert {which}: {result.status.value}", DegeneracyWarning, stacklevel=3)
        elif not result.converged:
            gap = f" (Newton decrement {result.certificate.decrement:.2g} nats, tol {self.tol:g})"
            warnings.warn(result.status.value + gap, ConvergenceWarning, stacklevel=3)
        for message in result.messages:
            category = CollinearityWarning if message.startswith("the features") else DegeneracyWarning
            warnings.warn(message[0].upper() + message[1:], category, stacklevel=3)
        if result.active_bounds:
            logger.info("Parameters at a bound of the box: %s", ", ".join(result.active_bounds))

    def _separation_text(self) -> str:
        direction = self.result_.separation
        if direction is None:
            return ""
        gate = self.model_.gate_map
        terms = ["Intercept", *gate.names(self.model_.feature_names)]
        size = np.abs(direction[:, 1:]).max(initial=0.0) or np.abs(direction).max()
        lines = []
        for k, row in enumerate(direction / size):
            parts = " ".join(
                f"{value:+.3g}·{term}" for value, term in zip(row, terms, strict=True) if abs(value) > 1e-6
            )
            if parts:
                lines.append(f"gate[{k + 1}]: {parts}")
        return "Direction: " + "; ".join(lines) + "."

    # -- fitted attributes ------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _param(self, name: str) -> Array:
        if not hasattr(self, "model_"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet; call fit first.")
        return self.model_.params[name]

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
    def mixing_measure_(self) -> MixingMeasure:
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

    def predict(self, X: ArrayLike) -> Array:
        """Mean response `Σ_k π_k(x) μ_k(x)`, `(n,)` or `(n, D)`."""
        return self.model_.mean(self._X(X)) if hasattr(self, "model_") else self._X(X)

    def gate_proba(self, X: ArrayLike) -> Array:
        """Gate probabilities `π_k(x)`, `(n, K)`."""
        X = self._X(X)
        return self.model_.gate_proba(X)

    def responsibilities(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Posterior probabilities of the experts given `(x, y)`, `(n, K)`."""
        X = self._X(X)
        return self.model_.responsibilities(X, y)

    def log_density(self, X: ArrayLike, y: ArrayLike) -> Array:
        """`log p(y|x)`, `(n,)`."""
        X = self._X(X)
        return self.model_.log_density(X, y)

    def log_likelihood(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """(Weighted) log-likelihood of data."""
        values = self.log_density(X, y)
        return float(values.sum() if sample_weight is None else np.asarray(sample_weight, dtype=float) @ values)

    def predict_quantile(self, X: ArrayLike, q: ArrayLike) -> Array:
        """Exact quantiles of the predictive mixture: `(n,)` for one level, `(n, len(q))` for several."""
        X = self._X(X)
        return self.model_.quantile(X, q)

    def predict_interval(self, X: ArrayLike, level: float = 0.9) -> Array:
        """Central prediction interval `(n, 2)` with the exact quantiles of the mixture (parameters taken as known).

        Raises
        ------
        ValueError
            If `level` is not strictly between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level!r} must be strictly between 0 and 1.")
        return self.predict_quantile(X, [0.5 - 0.5 * level, 0.5 + 0.5 * level])

    def predict_std(self, X: ArrayLike) -> Array:
        """Standard deviation of the response given x."""
        X = self._X(X)
        return self.model_.std(X)

    def sample(self, X: ArrayLike, random_state: Any = None) -> Array:
        """Draw one response for each row of X."""
        X = self._X(X)
        return np.asarray(self.model_.sample(X, generator(random_state)))

    # -- model selection and inference ------------------------------------------------------------------------------

    @property
    def n_parameters_(self) -> int:
        """Number of free parameters."""
        self._result()
        return self.model_.layout.n_params

    def aic(self, X: ArrayLike, y: ArrayLike) -> float:
        """`-2 loglik + 2 p`; smaller is better."""
        return criteria.aic(self.log_likelihood(X, y), self.n_parameters_)

    def bic(self, X: ArrayLike, y: ArrayLike) -> float:
        """`-2 loglik + p log n`; smaller is better."""
        values = self.log_density(X, y)
        return criteria.bic(float(values.sum()), self.n_parameters_, len(values))

    def icl(self, X: ArrayLike, y: ArrayLike) -> float:
        """BIC plus twice the entropy of the responsibilities (Biernacki, Celeux & Govaert 2000); smaller is better."""
        return criteria.icl(self.log_likelihood(X, y), self.n_parameters_, self.responsibilities(X, y))

    def inference(
        self,
        X: ArrayLike,
        y: ArrayLike,
        cov_type: str = "observed",
        *,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> InferenceResults:
        """Standard errors of experts and gate; see `moestat.inference.infer`.

        Parameters
        ----------
        cov_type : {"observed", "opg", "sandwich", "cluster"}
        groups : (n,) array
            Cluster labels for `"cluster"`.
        """
        from moestat.inference import infer

        checked = self._X(X)
        return infer(
            self.model_,
            checked,
            y,
            sample_weight=sample_weight,
            cov_type=cov_type,  # type: ignore[arg-type]
            groups=groups,
            certificate=self.result_.certificate,
            active_bounds=(*self.result_.active_bounds, *self._floored_names()),
        )

    def _floored_names(self) -> list[str]:
        """Names of the scale parameters of experts on the variance floor: they are no interior estimates."""
        experts = [f"expert[{k}]:" for k in self.result_.floored] + (["expert:"] if self.result_.floored else [])
        return [
            name for name in self.model_.free_names() if "log_scale" in name and any(name.startswith(e) for e in experts)
        ]

    # -- saving -----------------------------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the fitted estimator as JSON or npz (never pickle); `moestat.load` reads it."""
        from moestat.persistence import save

        return save(self, path)

    def _to_state(self) -> dict[str, Any]:
        names = getattr(self, "feature_names_in_", None)
        return {
            "mixture": mixture_state(self.model_),
            "result": result_state(self.result_),
            "n_features_in": int(self.n_features_in_),
            "feature_names_in": None if names is None else [str(c) for c in names],
        }

    def _from_state(self, state: dict[str, Any]) -> None:
        self.model_ = mixture_from_state(state["mixture"])
        self.result_ = result_from_state(state["result"])
        self.n_features_in_ = int(state["n_features_in"])
        if state["feature_names_in"] is not None:
            self.feature_names_in_ = np.asarray(state["feature_names_in"], dtype=object)


def _progress(iteration: int, loglik: float) -> None:
    if iteration <= 10 or iteration % 10 == 0:
        _stderr_logger().info("iteration %5d  loglik %.8g", iteration, loglik)


def _stderr_logger() -> logging.Logger:
    """The package's logger, writing to the standard error unless the user has configured logging."""
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("moestat: %(message)s"))
        logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    return logger
