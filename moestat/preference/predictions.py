"""What a fit to choices tells: probabilities of choices, responsibilities, rewards, likelihoods, inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, logsumexp
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from moestat import checks
from moestat.inference.results import InferenceResults
from moestat.preference.covariates import as_columns, read_covariates
from moestat.preference.data import Array, Indices, read_annotators, read_choice_sets, read_chosen, read_weights
from moestat.preference.fitting import FittedChoices, feature_names
from moestat.preference.inference import CovType, infer
from moestat.solvers.base import FitResult


class FittedPreferences(BaseEstimator):  # type: ignore[misc]
    """The fitted side of `PreferenceMoE`."""

    n_experts: int
    experts: str
    gate: str
    result_: FitResult
    annotators_: NDArray[Any]
    covariate_names_: tuple[str, ...]
    n_features_in_: int
    expert_coef_: Array
    gate_coef_: Array
    gate_intercept_: Array
    _fitted: FittedChoices
    _covariates: Array
    _n_comparisons: int

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

    @property
    def _gated(self) -> bool:
        """Whether covariates matter."""
        return self.gate == "softmax" and self.n_experts > 1

    def _result(self) -> FitResult:
        if not hasattr(self, "result_"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet; call fit first.")
        return self.result_

    # -- experts and gate ---------------------------------------------------------------------------------------------

    def responsibilities(self) -> Array:
        """Posterior probability that each annotator of the fit follows each expert, `(n_annotators, K)`; rows as `annotators_`."""
        check_is_fitted(self)
        return self._fitted.resp.copy()

    def gate_proba(self, U: Any = None) -> Array:
        """Gate probabilities `(n, K)` at covariates `U (n, q)`; without `U` at those of the annotators of the fit."""
        return np.asarray(np.exp(self._log_gate(self._read_rows(U))))

    def reward(self, phi: ArrayLike) -> Array:
        """Rewards `w_kᵀφ` of alternatives `phi (n, p)`, `(n, K)`, in log-odds; a constant can be added to a column."""
        check_is_fitted(self)
        features = checks.numeric("phi", phi)
        if features.ndim != 2 or features.shape[1] != self.n_features_in_:
            raise ValueError(f"phi has shape {features.shape}; expected (n, {self.n_features_in_}).")
        return features @ self.expert_coef_.T

    def _log_gate(self, U: Array) -> Array:
        return np.asarray(log_softmax(self.gate_intercept_ + U @ self.gate_coef_.T, axis=1))

    def _read_rows(self, U: Any) -> Array:
        """Covariates row by row, `(n, q)`."""
        check_is_fitted(self)
        if U is None:
            return self._covariates
        if not self._gated:
            return np.zeros((len(U), 0))
        if isinstance(U, Mapping):
            raise ValueError("U is a mapping, but there are no labels to look up; give one row of covariates each.")
        values = as_columns(checks.numeric("U", U))
        self._check_width(values)
        return values

    def _check_width(self, values: Array) -> None:
        if values.shape[1] != len(self.covariate_names_):
            raise ValueError(
                f"U has {values.shape[1]} covariates; the gate was fitted with {len(self.covariate_names_)} {list(self.covariate_names_)}."
            )

    def _annotator_covariates(self, labels: NDArray[Any], codes: Indices, U: Any) -> Array:
        """Covariates `(A', q)` of annotators: from `U` if it is given, else those of the fit."""
        if U is not None and self._gated:
            values = read_covariates(U, labels, codes).values
            self._check_width(values)
            return values
        position = self._positions(labels)
        if not self.covariate_names_:
            return np.zeros((len(labels), 0))
        new = labels[position < 0].tolist()
        if new:
            raise ValueError(
                f"annotators {new[:5]} are not among the {len(self.annotators_)} of the fit, and the gate needs their covariates "
                f"{list(self.covariate_names_)}; give U."
            )
        return self._covariates[position]

    def _positions(self, labels: NDArray[Any]) -> Indices:
        """Row of each label in `annotators_`, -1 for new annotators."""
        where = {label: row for row, label in enumerate(self.annotators_.tolist())}
        return np.array([where.get(label, -1) for label in labels.tolist()], dtype=np.intp)

    # -- choices ------------------------------------------------------------------------------------------------------

    def predict_proba(self, choice_sets: Any, annotator: ArrayLike | None = None, U: Any = None) -> Array:
        """Probability of each alternative, `(T, m)`; zero where a set has fewer than m alternatives.

        An annotator of the fit is predicted with their responsibilities (what they chose before counts), a new one with the
        gate at their covariates.

        Parameters
        ----------
        choice_sets : as in `fit`
        annotator : (T,) array, optional
            Labels, known or new; without them all are new.
        U : optional
            Covariates of new annotators, by label or in rows as in `fit`; without `annotator` one row a choice set.

        Raises
        ------
        ValueError
            If the gate needs covariates that are not given, or shapes disagree.
        """
        return np.asarray(np.exp(self._log_proba(choice_sets, annotator, U)))

    def predict(self, choice_sets: Any, annotator: ArrayLike | None = None, U: Any = None) -> NDArray[np.intp]:
        """Index of the most probable alternative of each set `(T,)`; see `predict_proba`."""
        return np.asarray(np.argmax(self.predict_proba(choice_sets, annotator, U), axis=1))

    def _log_proba(self, choice_sets: Any, annotator: ArrayLike | None, U: Any) -> Array:
        """Logarithm of `predict_proba`."""
        check_is_fitted(self)
        sets = read_choice_sets(choice_sets, self.n_features_in_)
        weights = self._weights(len(sets.size), annotator, U)
        return np.asarray(logsumexp(sets.log_probabilities(self.expert_coef_), axis=2, b=weights[:, None]))

    def _weights(self, n_sets: int, annotator: ArrayLike | None, U: Any) -> Array:
        """Weight of each expert in each choice set, `(T, K)`."""
        if annotator is None:
            if U is None and self.covariate_names_:
                raise ValueError(
                    f"the gate needs the covariates {list(self.covariate_names_)}; give U, one row a choice set, or annotators of the fit."
                )
            rows = self._read_rows(np.zeros((n_sets, 0)) if U is None else U)
            if len(rows) != n_sets:
                raise ValueError(f"U has {len(rows)} rows; expected one a choice set, {n_sets}.")
            return np.asarray(np.exp(self._log_gate(rows)))
        labels, codes = read_annotators(annotator, n_sets)
        position = self._positions(labels)
        new = position < 0
        weights = self._fitted.resp[position]
        if new.any():
            weights[new] = self._new_weights(labels, codes, new, U)
        return weights[codes]

    def _new_weights(self, labels: NDArray[Any], codes: Indices, new: NDArray[np.bool_], U: Any) -> Array:
        """Gate probabilities of the annotators who were not in the fit."""
        if isinstance(U, Mapping) or hasattr(U, "loc"):
            values = self._annotator_covariates(labels[new], np.zeros(0, dtype=np.intp), U)
        elif U is not None:
            values = self._annotator_covariates(labels, codes, U)[new]
        else:
            values = self._annotator_covariates(labels[new], codes, None)
        return np.asarray(np.exp(self._log_gate(values)))

    # -- likelihood ---------------------------------------------------------------------------------------------------

    def log_likelihood(
        self,
        choice_sets: Any,
        chosen: ArrayLike,
        annotator: ArrayLike,
        U: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Log-likelihood `Σ_a log Σ_k π_k(u_a) Π_t P_k(choice t)` of a sample; `loglik_` at the data of the fit.

        Without `U`, annotators of the fit keep their covariates.
        """
        check_is_fitted(self)
        sets = read_choice_sets(choice_sets, self.n_features_in_)
        picked = read_chosen(chosen, sets.size)
        labels, codes = read_annotators(annotator, len(sets.size))
        weight = read_weights(sample_weight, len(sets.size))
        joint = self._log_gate(self._annotator_covariates(labels, codes, U))
        log_prob = sets.log_probabilities(self.expert_coef_)[np.arange(len(picked)), picked]
        np.add.at(joint, codes, weight[:, None] * log_prob)
        return float(logsumexp(joint, axis=1).sum())

    def log_loss(
        self,
        choice_sets: Any,
        chosen: ArrayLike,
        annotator: ArrayLike | None = None,
        U: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Mean of `-log` of the predicted probability of the chosen alternative; see `predict_proba`."""
        log_proba = self._log_proba(choice_sets, annotator, U)
        picked = read_chosen(chosen, read_choice_sets(choice_sets).size)
        weight = read_weights(sample_weight, len(picked))
        return float(-(weight @ log_proba[np.arange(len(picked)), picked]) / weight.sum())

    # -- inference ----------------------------------------------------------------------------------------------------

    def inference(self, cov_type: CovType = "observed", feature_names: Sequence[str] | None = None) -> InferenceResults:
        """Standard errors of rewards and gate, at the data of the fit.

        Annotators are the independent units: scores are summed over their comparisons, "sandwich" is robust to dependence within
        annotators, and `nobs` (in the BIC) is their number.

        Parameters
        ----------
        cov_type : {"observed", "opg", "sandwich"}
            Inverse of the observed information (exact second derivatives), of the outer product of the annotators' scores, or
            the sandwich of both. A penalty changes the point, not the information.
        feature_names : sequence of str, optional
            In the place of phi1 … phip.

        Returns
        -------
        InferenceResults
            `params`, `bse`, `conf_int()`, `params_frame()` (a table of estimate, std_err, z, p_value and limits), `summary()`, `t_test(…)`, `rank`,
            `unidentified`. Standard errors are nan where the information is singular; `unidentified` names the directions.

        Raises
        ------
        ValueError
            If `cov_type` is unknown or the number of names is wrong.

        Warns
        -----
        InferenceWarning
            If the information is singular.
        """
        check_is_fitted(self)
        terms = self._feature_names(feature_names)
        k, certificate = self.n_experts, self.result_.certificate
        names = [f"gate[{j + 1}]:{term}" for j in range(k - 1) for term in ("Intercept", *self.covariate_names_)]
        theta = self._fitted.gate[:-1].ravel()
        if self.experts == "linear":
            names += [f"expert[{j + 1}]:{term}" for j in range(k) for term in terms]
            theta = np.concatenate([theta, self.expert_coef_.ravel()])
        state = "certified" if certificate.certified else "NOT certified"
        header = {
            "Response:": f"{self._n_comparisons} choices",
            "No. experts:": str(k),
            "Gate:": self.gate if self.covariate_names_ else "constant",
            "Experts:": "conditional logit" if self.experts == "linear" else "fixed rewards",
            "Maximum:": f"{state} ({certificate.n_agree} of {certificate.n_followed} runs)",
        }
        notes = ["Observations are annotators, each with all of their choices.", *self.result_.messages]
        return infer(
            self._fitted.evidence,
            names,
            theta,
            cov_type=cov_type,
            llf=self.loglik_,
            n_annotators=len(self.annotators_),
            n_experts=k,
            decrement=certificate.decrement,
            header=header,
            notes=notes,
        )

    def _feature_names(self, names: Sequence[str] | None) -> list[str]:
        if names is None:
            return feature_names(self.n_features_in_)
        if len(names) != self.n_features_in_:
            raise ValueError(f"feature_names has {len(names)} names for {self.n_features_in_} features.")
        return [str(name) for name in names]
