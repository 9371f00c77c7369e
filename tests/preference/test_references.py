"""One expert against statsmodels and scikit-learn; separable choices against linear programming."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy.optimize import linprog
from sklearn.linear_model import LogisticRegression
from statsmodels.discrete.conditional_models import ConditionalLogit

from moestat.exceptions import SeparationWarning
from moestat.preference import PreferenceMoE
from moestat.solvers import Status

from .choices import simulate


@pytest.fixture
def pairs():
    return simulate(np.random.default_rng(0), [[1.0, -0.5, 0.3]], [[0.0]], n_annotators=50, n_each=6)


def test_pairs_are_a_logit_without_intercept(pairs):
    est = PreferenceMoE(1).fit(pairs["sets"], pairs["chosen"], pairs["annotator"])
    difference = pairs["sets"][:, 1] - pairs["sets"][:, 0]
    logit = sm.Logit(pairs["chosen"], difference).fit(disp=0, method="newton", tol=1e-14)
    results = est.inference()
    assert_allclose(est.expert_coef_[0], logit.params, rtol=1e-8)
    assert_allclose(results.bse, logit.bse, rtol=1e-8)
    assert_allclose(est.loglik_, logit.llf, rtol=1e-12)
    clustered = sm.Logit(pairs["chosen"], difference).fit(
        disp=0, tol=1e-14, cov_type="cluster", cov_kwds={"groups": pairs["annotator"], "use_correction": False}
    )
    assert_allclose(est.inference("sandwich").bse, clustered.bse, rtol=1e-8)
    scores = logit.model.score_obs(logit.params)
    by_annotator = scores.reshape(50, 6, 3).sum(axis=1)
    assert_allclose(est.inference("opg").cov_params(), np.linalg.inv(by_annotator.T @ by_annotator), rtol=1e-8)


def test_sets_are_a_conditional_logit():
    data = simulate(np.random.default_rng(2), [[1.0, -0.5]], [[0.0]], n_annotators=40, n_each=5, m=4)
    est = PreferenceMoE(1).fit(data["sets"], data["chosen"], data["annotator"])
    endog = (np.arange(4) == data["chosen"][:, None]).ravel().astype(int)
    groups = np.repeat(np.arange(200), 4)
    model = ConditionalLogit(endog, data["sets"].reshape(-1, 2), groups=groups)
    reference = model.fit(method="newton", disp=0, skip_hessian=True, tol=1e-14)
    assert_allclose(est.expert_coef_[0], reference.params, rtol=1e-8)
    assert_allclose(est.loglik_, model.loglike(reference.params), rtol=1e-12)
    hessian = _jacobian(model.score, np.asarray(reference.params))  # statsmodels differentiates roughly
    assert_allclose(est.inference().bse, np.sqrt(np.diag(np.linalg.inv(-hessian))), rtol=1e-8)


def _jacobian(score, point):
    """Central differences with steps h, h/2, h/4, extrapolated (Richardson): error of order h⁶."""
    first, second, third = (
        np.column_stack([(score(point + h * e) - score(point - h * e)) / (2.0 * h) for e in np.eye(len(point))])
        for h in (1e-2, 5e-3, 2.5e-3)
    )
    return (64.0 * third - 20.0 * second + first) / 45.0


def test_ridge_is_that_of_logistic_regression(pairs):
    est = PreferenceMoE(1, l2=2.5).fit(pairs["sets"], pairs["chosen"], pairs["annotator"])
    difference = pairs["sets"][:, 1] - pairs["sets"][:, 0]
    ridge = LogisticRegression(C=1 / 2.5, fit_intercept=False, tol=1e-12, solver="newton-cholesky", max_iter=1000)
    assert_allclose(est.expert_coef_[0], ridge.fit(difference, pairs["chosen"]).coef_[0], rtol=1e-7)


def is_separable(differences):
    """Whether some `d` has `differences @ d <= 0` for all rows, not all zero (rows: other alternative minus chosen one)."""
    p = differences.shape[1]
    best = linprog(differences.sum(axis=0), A_ub=differences, b_ub=np.zeros(len(differences)), bounds=[(-1, 1)] * p)
    return best.fun < -1e-9


@pytest.mark.parametrize("seed", range(30))
def test_separable_choices_are_those_of_linear_programming(seed):
    rng = np.random.default_rng(seed)
    n, p = 12, 3
    difference = rng.normal(size=(n, p)) if seed % 3 else rng.integers(-1, 2, size=(n, p)).astype(float)
    difference[0] = rng.normal(size=p)
    chosen = (rng.random(n) < 1.0 / (1.0 + np.exp(-3.0 * difference[:, 0]))).astype(int)
    sign = np.where(chosen == 1, -1.0, 1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est = PreferenceMoE(1).fit((np.zeros((n, p)), difference), chosen, np.arange(n))
    said = any(issubclass(w.category, SeparationWarning) for w in caught)
    assert said == is_separable(sign[:, None] * difference)
    assert (est.result_.status is Status.SEPARATED) == said
    assert est.converged_
