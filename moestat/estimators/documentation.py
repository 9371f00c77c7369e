"""The part of the estimators' docstrings that they share."""

from __future__ import annotations

_COMMON = """
    Parameters
    ----------
    n_experts : int, default 2
        Number of experts K.
    gate : str or gate, default "softmax"
        "softmax", "constant", "normalized_sigmoid", "laplace", …, or an object of `moestat.gates`.
{own}    solver : {"auto", "em", "squarem", "newton", "lbfgs", "cem", "daem"}, default "auto"
        "auto": short EM from many starts, the best followed by EM and trust-region Newton.
    n_init : int, default 10
        Number of starts.
    init : str, dict, (n, K) array, default "kmeans"
        Kind of starts ("kmeans", "kmeans_x", "kmeans_y", "residuals", "cells", "lines", "random"), raw parameters (then one start from exactly
        there), or responsibilities.
    tol : float, default 1e-8
        Log-likelihood of the whole sample, in nats, that may still be gained (Newton decrement) for `converged_`.
    max_iter : int, default 1000
        Iterations of one start.
    gate_l2 : float, default 0
        Penalty on the gate's slopes, in units in which the features are uncorrelated with unit variance.
    variance_floor : float, default 1e-6
        Smallest variance of an expert, relative to the variance of y (at least 1e-12).
    warm_start : bool, default False
        Start from the previous fit.
    random_state : int, Generator, RandomState or None
        Randomness of the starts.
    n_jobs : int or None
        Threads over blocks of rows (-1: all cores); results do not depend on it.
    verbose : int, default 0
        Log the iterations.
    gate_features, expert_features : columns, optional
        Names, numbers, slice or mask of the columns that gate and experts use; default all.
    box : dict, optional
        Bounds `name: (lower, upper)` on raw parameters, the last gate at zero.

    Attributes
    ----------
    gate_coef_ : (K, d) array, the last row zero
    gate_intercept_ : (K,) array
    expert_coef_ : (K, p) array, or (K, D, p) for D responses
    expert_intercept_ : (K,) or (K, D) array
    expert_scale_ : (K,) or (K, D) array
        Standard deviations of Gaussian experts. Other families and gates have attributes of their own, an entry of
        `model_.params` each: `expert_dispersion_`, `gate_location_`, …
    model_ : ConditionalMixture
        The fitted density.
    mixing_measure_ : MixingMeasure
    result_ : FitResult
        Status, certificate, trace, starts.
    loglik_ : float
    converged_ : bool
        Whether the certificate holds.
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : array of str
"""


def document(estimator: type, own: str) -> None:
    """Put the common parameters, and the class's own before the solver's, in the place of `{common}` in its docstring."""
    if estimator.__doc__:  # none under python -OO
        text = estimator.__doc__.replace("    {common}", _COMMON.replace("{own}", own).strip("\n") + "\n" * 1)
        estimator.__doc__ = text.replace("{{", "{").replace("}}", "}")
