"""The estimator: a gated mixture of latent rewards behind the choices of annotators."""

from __future__ import annotations

import logging
import warnings
from numbers import Integral, Real
from typing import Any

from numpy.typing import ArrayLike

from moestat import checks
from moestat.estimators.predictions import generator
from moestat.exceptions import ConvergenceWarning
from moestat.preference.covariates import Covariates, read_covariates
from moestat.preference.data import comparisons, read_annotators, read_choice_sets, read_chosen, read_weights
from moestat.preference.fitting import fit_choices
from moestat.preference.predictions import FittedPreferences

logger = logging.getLogger("moestat")


class PreferenceMoE(FittedPreferences):
    r"""Mixture of latent rewards behind the choices of annotators, with a gate on the annotators' covariates.

    Annotator a, with covariates `u_a`, follows one of K rewards `w_kᵀφ` in all of their comparisons t, and chooses
    alternative c among those of the set with features `φ_ti`:

    `P(choices of a) = Σ_k π_k(u_a) Π_t exp(w_kᵀφ_tc) / Σ_i exp(w_kᵀφ_ti)`,  `π = softmax(γ_k0 + γ_kᵀu)`.

    With pairs the experts are Bradley-Terry (logistic) models of the difference of the features, with more alternatives
    conditional logits (McFadden 1974); with one expert this is the ordinary conditional logit. Responsibilities belong to
    annotators, not to comparisons. The maximum is found by EM from partitions of the annotators and by trust-region Newton on the exact
    Hessian (Louis 1982), and certified as everywhere in moestat.

    Parameters
    ----------
    n_experts : int, default 2
        Number of rewards K.
    experts : {"linear", "fixed"}, default "linear"
        "linear": the weights `w_k` are estimated. "fixed": the K features *are* the rewards (`w_k` is the k-th unit vector: evaluate
        given reward functions at the alternatives, on the scale of log-odds), and only the gate is estimated; experts keep their order.
    gate : {"softmax", "constant"}, default "softmax"
        "constant" takes no notice of `U`.
    l2 : float, default 0
        Penalty `l2/2 Σ_k |w_k|²`, in the units of the features.
    gate_l2 : float, default 0
        Penalty `gate_l2/2 Σ_k |γ_k - γ̄|²` on the gate's slopes, in units in which the covariates are uncorrelated with unit variance.
    n_init : int, default 10
        Number of starts.
    tol : float, default 1e-8
        Log-likelihood of the whole sample, in nats, that may still be gained (Newton decrement) for `converged_`.
    max_iter : int, default 1000
        Iterations of one start.
    random_state : int, Generator, RandomState or None
        Randomness of the starts.
    verbose : int, default 0
        Log the iterations (logger "moestat", level INFO).

    Attributes
    ----------
    expert_coef_ : (K, p) array
        The rewards' weights; experts by decreasing average gate probability.
    gate_coef_ : (K, q) array, gate_intercept_ : (K,) array
        The last row zero.
    annotators_ : (n_annotators,) array
        Sorted labels.
    covariate_names_ : tuple of str
    result_ : FitResult
        Status, certificate, trace, starts, messages.
    loglik_ : float
    converged_ : bool
    n_iter_ : int
    n_features_in_ : int

    Notes
    -----
    Identification. Only differences within a choice set matter: a feature that is constant in every set (an intercept, a property of
    the annotator) has no coefficient; a warning names it. The gate is reported with the last expert at zero, and labels are
    fixed by the order of the experts. A mixture with K > 1 lives on several comparisons by the same annotator: with one each, it
    rests on the shape of the logistic function alone. Rewards have the scale of log-odds: a larger `w_k` is a more decided
    annotator. Alternatives with equal features are allowed; a set of nothing else says nothing.

    `fit` takes choice sets, choices and annotators, not `(X, y)`: `get_params`, `set_params` and `clone` work, but tools that
    call `fit(X, y)` (`GridSearchCV`, pipelines, scikit-learn's estimator checks) do not apply.

    References
    ----------
    Bradley and Terry (1952); McFadden (1974); Louis (1982); Lange (1995), a gradient algorithm locally equivalent to EM.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.preference import PreferenceMoE
    >>> rng = np.random.default_rng(0)
    >>> A, B = rng.normal(size=(2, 2000, 2))
    >>> annotator = np.arange(2000) // 10
    >>> w = np.where(annotator[:, None] % 4 == 0, [-2.0, 1.0], [2.0, 0.5])
    >>> second = rng.random(2000) < 1 / (1 + np.exp(-np.sum(w * (B - A), axis=1)))
    >>> est = PreferenceMoE(2, random_state=0).fit((A, B), second.astype(int), annotator)
    >>> est.expert_coef_.round(1)
    array([[ 2.1,  0.4],
           [-2.3,  1.1]])
    >>> est.converged_
    True
    """

    def __init__(
        self,
        n_experts: int = 2,
        *,
        experts: str = "linear",
        gate: str = "softmax",
        l2: float = 0.0,
        gate_l2: float = 0.0,
        n_init: int = 10,
        tol: float = 1e-8,
        max_iter: int = 1000,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_experts = n_experts
        self.experts = experts
        self.gate = gate
        self.l2 = l2
        self.gate_l2 = gate_l2
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.verbose = verbose

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(
        self,
        choice_sets: Any,
        chosen: ArrayLike,
        annotator: ArrayLike,
        U: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> PreferenceMoE:
        """Fit by maximum likelihood.

        Parameters
        ----------
        choice_sets : (T, m, p) array, list of (m_t, p) arrays, or tuple of two (T, p) arrays
            Features of the alternatives; a tuple `(A, B)` is T pairs.
        chosen : (T,) array of int
            Index of the chosen alternative; in a pair 0 for A and 1 for B.
        annotator : (T,) array
            Labels.
        U : mapping, data frame, (n_annotators, q) or (T, q) array, optional
            Covariates of the gate: by label, or one row an annotator in the order of the sorted labels, or one row a comparison, constant
            within annotators. Without them the gate is constant.
        sample_weight : (T,) array, optional
            Non-negative weights of comparisons; an integer weight is the same as repeating the comparison.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument or the data cannot be used; the message says which and what would be right.

        Warns
        -----
        SeparationWarning, CollinearityWarning, DegeneracyWarning, ConvergenceWarning
            With what to do about it.
        """
        self._check_settings()
        sets = read_choice_sets(choice_sets)
        picked = read_chosen(chosen, sets.size)
        labels, codes = read_annotators(annotator, len(sets.size))
        covariates = Covariates.none(len(labels))
        if self._gated:
            covariates = read_covariates(U, labels, codes)
        data, kept = comparisons(sets, picked, codes, read_weights(sample_weight, len(sets.size)))
        n_features = sets.features.shape[1]
        if self.experts == "fixed" and n_features != self.n_experts:
            raise ValueError(
                f"experts='fixed' takes one feature, the reward, for each expert; choice_sets has {n_features} features "
                f"and n_experts={self.n_experts}."
            )
        if len(kept) < self.n_experts:
            raise ValueError(
                f"there are {len(kept)} annotators for n_experts={self.n_experts}; ask for fewer experts or give more annotators."
            )
        fitted = fit_choices(
            data,
            covariates.values[kept],
            self.n_experts,
            fixed=self.experts == "fixed",
            l2=self.l2,
            gate_l2=self.gate_l2,
            n_init=self.n_init,
            tol=self.tol,
            max_iter=self.max_iter,
            rng=generator(self.random_state),
            callback=_progress if self.verbose else None,
            covariate_names=covariates.names,
        )
        self.n_features_in_, self.annotators_, self.covariate_names_ = n_features, labels[kept], covariates.names
        self.gate_intercept_, self.gate_coef_ = fitted.gate[:, 0], fitted.gate[:, 1:]
        self.expert_coef_, self.result_ = fitted.coef, fitted.result
        self._fitted, self._covariates, self._n_comparisons = fitted, covariates.values[kept], len(data.size)
        if self.verbose:
            logger.info("%s. %s", self.result_.status.name, self.result_.certificate)
        for category, text in fitted.warnings:
            warnings.warn(text[0].upper() + text[1:], category, stacklevel=2)
        if not self.converged_:
            gap = f" (Newton decrement {self.result_.certificate.decrement:.2g} nats, tol {self.tol:g})"
            warnings.warn(self.result_.status.value + gap, ConvergenceWarning, stacklevel=2)
        return self

    def _check_settings(self) -> None:
        checks.settings(
            solver="auto",
            solvers=("auto",),
            n_init=self.n_init,
            tol=self.tol,
            max_iter=self.max_iter,
            gate_l2=self.gate_l2,
            variance_floor=0.0,
            n_jobs=1,
        )
        n_experts: Any = self.n_experts
        if isinstance(n_experts, bool) or not isinstance(n_experts, Integral) or int(n_experts) < 1:
            raise ValueError(f"n_experts={n_experts!r} must be a positive integer.")
        l2: Any = self.l2
        if not isinstance(l2, Real) or not 0.0 <= float(l2) < float("inf"):
            raise ValueError(f"l2={l2!r} must be a finite number, zero or larger.")
        for name, known in (("experts", ("linear", "fixed")), ("gate", ("softmax", "constant"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is not known; give one of {', '.join(known)}.")


def _progress(iteration: int, value: float) -> None:
    logger.info("iteration %5d  loglik %.8g", iteration, value)
