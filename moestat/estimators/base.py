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
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _check_sample_weight, column_or_1d, validate_data

from moestat.estimators.predictions import FittedMoE, generator
from moestat.estimators.state import mixture_from_state, mixture_state, result_from_state, result_state
from moestat.exceptions import CollinearityWarning, ConvergenceWarning, DegeneracyWarning, SeparationWarning
from moestat.experts.base import BaseExpert
from moestat.fitting import fit_mixture
from moestat.gates.base import Gate
from moestat.mixture import ConditionalMixture
from moestat.registry import resolve_expert
from moestat.regression_fitting import fit_least_squares
from moestat.regression_function import RegressionFunction
from moestat.solvers.base import FitResult, Status

Array = NDArray[np.float64]

logger = logging.getLogger("moestat")

INFINITE = "the likelihood rises"  # what the message about separated experts begins with


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


class BaseMoE(FittedMoE):
    """Common part of the estimators; subclasses say which gate and expert objects their parameters mean."""

    objective: str = "likelihood"
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

    def _gate(self) -> str | Gate:
        raise NotImplementedError

    def _expert(self) -> BaseExpert:
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
        tags.target_tags.multi_output = self._several_responses()
        tags.target_tags.required = True
        return tags

    def _several_responses(self) -> bool:
        """Whether y may have columns of its own accord; binomial and grouped counts are one response in several columns."""
        if self.objective == "least_squares":
            return False
        try:
            return resolve_expert(self._expert()).name == "gaussian"
        except (AttributeError, ValueError):
            return True  # `fit` will say what is wrong

    def _intervals(self) -> bool:
        """Whether responses are intervals, whose ends may be infinite."""
        return self._expert().intervals

    # -- fitting ----------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> BaseMoE:
        """Fit by maximum likelihood, or by least squares where `objective` says so.

        Parameters
        ----------
        X : (n, d) array or data frame
        y : (n,) or (n, D) array
        sample_weight : (n,) array, optional
            Non-negative; an integer weight is the same as repeating the row.
        offset : (n,) array, optional
            Added to the first predictor of every expert, as the logarithm of an exposure under a log link.

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
        squares = self.objective == "least_squares"
        if previous is not None and (previous.n_experts, isinstance(previous, RegressionFunction)) != (
            self.n_experts,
            squares,
        ):
            previous = None  # its parameters are no start for another number of experts, or another objective
        data, target = self._validated(X, y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, data, dtype=np.float64, ensure_non_negative=True)
        names = getattr(self, "feature_names_in_", None)
        names = None if names is None else [str(c) for c in names]
        d = data.shape[1]
        self.model_, self.result_ = self._fitted(
            data,
            target,
            gate=self._gate(),
            expert=self._expert(),
            sample_weight=sample_weight,
            offset=offset,
            gate_features=column_numbers(self.gate_features, names, d, "gate_features"),
            expert_features=column_numbers(self.expert_features, names, d, "expert_features"),
            init=self.init if previous is None else previous.params,
            n_init=self.n_init,
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            gate_l2=self.gate_l2,
            box=self.box,
            rng=generator(self.random_state),
            n_jobs=self._threads(),
            callback=_progress if self.verbose else None,
            feature_names=names,
        )
        if self.verbose:
            _stderr_logger().info("%s. %s", self.result_.status.name, self.result_.certificate)
        self._warn()
        return self

    def _fitted(
        self, X: Array, y: Array, *, offset: ArrayLike | None, **settings: Any
    ) -> tuple[ConditionalMixture, FitResult]:
        """The model and the report of its fit, by the objective that is asked for."""
        if self.objective == "likelihood":
            settings |= {"variance_floor": self.variance_floor, "offset": offset}
            fitted = fit_mixture(X, y, self.n_experts, **settings)
            return fitted.mixture, fitted.result
        if self.objective != "least_squares":
            raise ValueError(f"objective={self.objective!r} is not known; give 'likelihood' or 'least_squares'.")
        if offset is not None:
            raise ValueError("least squares takes no offset; subtract it from y, or use objective='likelihood'.")
        regression = fit_least_squares(X, y, self.n_experts, **settings)
        return regression.function, regression.result

    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Checked features, and responses as numbers."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        if self._intervals():
            data = validate_data(self, X, dtype=np.float64, order=None, ensure_min_samples=2)
            return data, np.asarray(y, dtype=np.float64)
        data, target = validate_data(
            self, X, y, dtype=np.float64, order=None, multi_output=True, y_numeric=True, ensure_min_samples=2
        )
        if not self._several_responses() and np.ndim(target) == 2 and np.shape(target)[1] == 1:
            target = column_or_1d(target, warn=True)
        return data, np.asarray(target, dtype=np.float64)

    def _threads(self) -> int:
        n_jobs: Any = 1 if self.n_jobs is None else self.n_jobs
        if not isinstance(n_jobs, Integral) or n_jobs == 0:
            raise ValueError(f"n_jobs={self.n_jobs!r} must be a positive integer, None (one) or -1 (all cores).")
        number = int(n_jobs)
        return number if number > 0 else max((os.cpu_count() or 1) + 1 + number, 1)

    def _warn(self) -> None:
        """One warning for each thing that needs an action."""
        result = self.result_
        if result.status is Status.SEPARATED and not any(m.startswith(INFINITE) for m in result.messages):
            warnings.warn(f"{result.status.value} {self._separation_text()}", SeparationWarning, stacklevel=3)
        elif not result.converged and result.status is not Status.DEGENERATE:
            gap = f" (Newton decrement {result.certificate.decrement:.2g} nats, tol {self.tol:g})"
            warnings.warn(result.status.value + gap, ConvergenceWarning, stacklevel=3)
        for message in result.messages:
            category: type[Warning] = CollinearityWarning if message.startswith("the features") else DegeneracyWarning
            if message.startswith(INFINITE):
                category = SeparationWarning
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
