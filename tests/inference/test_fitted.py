"""Inference on estimators: known laws of the errors, degenerate fits, several responses, polynomials, large offsets."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import moestat as ms
from moestat.experts import GaussianExpert
from moestat.fitting import fit_mixture
from moestat.inference import InferenceWarning, icl, infer
from moestat.inference.reported import reported


def _two_groups(rng, n, d=1):
    X = rng.normal(size=(n, d))
    first = rng.random(n) < 1 / (1 + np.exp(-(0.4 + X[:, 0])))
    y = np.where(first, 1.0 + 2.0 * X[:, 0], -1.0 - X[:, 0]) + 0.5 * rng.normal(size=n)
    return X, y


@pytest.mark.parametrize("cov_type", ["observed", "opg", "sandwich"])
def test_estimator_method(rng, cov_type):
    X, y = _two_groups(rng, 300, 2)
    frame = pd.DataFrame(X, columns=["dose", "x1"])  # a name that looks like a default name of another column
    estimator = ms.MoERegressor(2, random_state=0).fit(frame, y)
    results = estimator.inference(frame, y, cov_type=cov_type)
    assert results.params.index.tolist()[:3] == ["gate[1]:Intercept", "gate[1]:dose", "gate[1]:x1"]
    assert_allclose(results.params["expert[1]:dose"], estimator.expert_coef_[0, 0])
    assert_allclose(results.params["gate[1]:x1"], estimator.gate_coef_[0, 1])
    assert_allclose(results.llf, estimator.loglik_, rtol=1e-12)
    assert_allclose([results.aic, results.bic], [estimator.aic(frame, y), estimator.bic(frame, y)], rtol=1e-12)
    assert results.decrement < 1e-8
    assert "certified" in results.summary().as_text()
    responsibilities = estimator.responsibilities(frame, y)
    assert_allclose(icl(results.llf, results.df_model, responsibilities), estimator.icl(frame, y), rtol=1e-12)


def test_all_errors_agree_when_the_model_holds(rng):
    X, y = _two_groups(rng, 20000)
    fitted = fit_mixture(X, y, 2, rng=0)
    observed, opg, sandwich = (infer(fitted.mixture, X, y, cov_type=c).bse for c in ("observed", "opg", "sandwich"))
    assert_allclose(opg, observed, rtol=0.06)
    assert_allclose(sandwich, observed, rtol=0.06)


def test_errors_are_the_spread_of_the_estimates():
    """Over 200 samples the standardised estimates have unit spread, gate and scales included."""
    rng = np.random.default_rng(7)
    truth = np.array([0.4, 1.0, 1.0, 2.0, -1.0, -1.0, np.log(0.5), np.log(0.5)])
    params = {
        "gate_intercept": [0.4, 0.0],
        "gate_coef": [[1.0], [0.0]],
        "expert_intercept": [1.0, -1.0],
        "expert_coef": [[2.0], [-1.0]],
        "expert_scale": [0.5, 0.5],
    }
    standardised = []
    for _ in range(200):
        X, y = _two_groups(rng, 400)
        mixture = fit_mixture(X, y, 2, init=params).mixture
        if mixture.params["expert_coef"][0, 0] < 0:  # a fit puts the larger expert first
            mixture = mixture.permuted([1, 0])
        results = infer(mixture, X, y)
        standardised.append((results.theta - truth) / results.bse.to_numpy())
    spread = np.std(standardised, axis=0)
    assert np.all(np.abs(spread - 1) < 4 * 0.05)  # standard error of a standard deviation: 1/sqrt(400) = 0.05
    assert np.all(np.abs(np.mean(standardised, axis=0)) < 0.35)


def test_an_expert_written_twice_is_said(rng):
    """At the two-expert optimum with its last expert written twice the halves have proportional scores."""
    X, y = _two_groups(rng, 300)
    two = fit_mixture(X, y, 2, rng=0).mixture.params
    params = {key: np.concatenate([value, value[1:]]) for key, value in two.items()}
    params["gate_intercept"][0] += np.log(2.0)  # against each half
    mixture = ms.ConditionalMixture(params=params)
    with pytest.warns(InferenceWarning, match="The outer product of the scores is singular: rank 8 of 13"):
        results = infer(mixture, X, y, cov_type="opg")
    assert results.rank == 8
    assert len(results.unidentified) == 5
    for half in ("expert[2]", "expert[3]"):
        assert results.bse.filter(like=half).isna().all()
    single = infer(ms.ConditionalMixture(params=two), X, y, cov_type="opg")
    assert_allclose(results.bse["expert[1]:x1"], single.bse["expert[1]:x1"], rtol=1e-8)
    average = results.t_test("0.5 * expert[2]:x1 + 0.5 * expert[3]:x1")
    assert_allclose(average.sd[0], single.bse["expert[2]:x1"], rtol=1e-8)
    assert "nan" in results.summary().as_text()
    # The observed information also sees the curvature of a split; the common weight of the halves stays unidentified.
    with pytest.warns(InferenceWarning):
        observed = infer(mixture, X, y)
    assert observed.rank < 13
    assert np.isnan(observed.bse["gate[2]:Intercept"])


def test_idle_expert_has_no_errors(rng):
    X, y = _two_groups(rng, 300)
    two = fit_mixture(X, y, 2, rng=0).mixture.params
    params = {key: np.concatenate([value, value[:1]]) for key, value in two.items()}
    params["gate_intercept"] = np.array([*two["gate_intercept"], -60.0])
    params["gate_coef"] = np.array([*two["gate_coef"], [0.0]])
    with pytest.warns(InferenceWarning, match="fewer experts"):
        results = infer(ms.ConditionalMixture(params=params), X, y)
    assert results.rank == 8
    assert results.bse.filter(like="expert[3]").isna().all()
    assert results.bse.filter(like="expert[1]").notna().all()
    single = infer(ms.ConditionalMixture(params=two), X, y)
    assert_allclose(results.bse["expert[1]:x1"], single.bse["expert[1]:x1"], rtol=1e-6)
    # Only the gate between the two live experts is known.
    assert np.isnan(results.bse["gate[1]:x1"])
    difference = results.t_test("gate[1]:x1 - gate[2]:x1")
    assert_allclose(difference.sd[0], single.bse["gate[1]:x1"], rtol=1e-6)


def test_separated_gate_is_said(rng):
    X = rng.normal(size=(200, 1))
    y = np.where(X[:, 0] > 0, 4 + X[:, 0], -4 - X[:, 0]) + 0.1 * rng.normal(size=200)
    mixture = fit_mixture(X, y, 2, rng=0).mixture
    with pytest.warns(InferenceWarning, match="separated"):
        results = infer(mixture, X, y)
    assert results.bse.filter(like="expert").notna().all()


def test_collinear_and_constant_columns_are_named(rng):
    X, y = _two_groups(rng, 250, 2)
    X = np.column_stack([X, 1e5 * (X[:, 0] + X[:, 1]), np.full(250, 7.0)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        mixture = fit_mixture(X, y, 2, rng=0).mixture
    with pytest.warns(InferenceWarning, match="Drop constant or collinear columns"):
        results = infer(mixture, X, y)
    assert results.rank == results.df_model == results.n_free == 11
    assert "11 of 11" in results.summary().as_text()
    assert "6 combinations of the coefficients have no effect" in results.summary().as_text().replace("\n  ", " ")
    experts = [d.coefficients for d in results.unidentified if "expert[1]:x1" in d.coefficients]
    assert len(experts) == 1
    ratio = {name.split(":")[1]: value / experts[0]["expert[1]:x1"] for name, value in experts[0].items()}
    assert ratio == pytest.approx({"x1": 1.0, "x2": 1.0, "x3": -1e-5}, rel=1e-6)
    # What is identified: the effect of x1 with x2 held, wherever it is booked; the raw mixture says the same.
    effect = "expert[1]:x1 + 100000 * expert[1]:x3"
    alone = infer(fit_mixture(X[:, :2], y, 2, rng=0).mixture, X[:, :2], y)
    assert_allclose(results.t_test(effect).sd[0], alone.bse["expert[1]:x1"], rtol=1e-5)
    with pytest.warns(InferenceWarning, match="6 combinations of the coefficients"):
        raw = infer(ms.ConditionalMixture(params=mixture.params), X, y)
    assert_allclose(raw.llf, results.llf, rtol=1e-10)
    assert_allclose(raw.t_test(effect).sd, results.t_test(effect).sd, rtol=1e-5)


def test_high_degree_polynomial(rng):
    """Degree 6 in raw monomials of a shifted variable: errors of the curve equal those in well-conditioned coordinates."""
    n = 2000
    x = rng.uniform(4.0, 6.0, size=n)
    y = np.sin(3 * x) + 0.1 * rng.normal(size=n)
    basis = np.polynomial.legendre.legvander(x - 5.0, 6)
    coefficients, *_ = np.linalg.lstsq(basis, y, rcond=None)
    variance = np.mean((y - basis @ coefficients) ** 2)
    at = np.array([4.2, 5.0, 5.9])
    design = np.polynomial.legendre.legvander(at - 5.0, 6)
    expected = np.sqrt(variance * np.einsum("ij,jk,ik->i", design, np.linalg.inv(basis.T @ basis), design))
    mixture = fit_mixture(x[:, None], y, 1, expert=GaussianExpert(degree=6)).mixture
    results = infer(mixture, x[:, None], y)
    assert results.rank == 8
    contrasts = np.column_stack([at[:, None] ** np.arange(7), np.zeros(3)])
    assert_allclose(results.t_test(contrasts).sd, expected, rtol=1e-6)


def test_several_responses_report_deviations_and_correlations(rng):
    n = 400
    X = rng.normal(size=(n, 1))
    covariance = np.array([[1.0, 0.6, 0.0], [0.6, 4.0, -0.5], [0.0, -0.5, 0.25]])
    Y = X @ [[1.0, -2.0, 0.5]] + rng.multivariate_normal(np.zeros(3), covariance, size=n)
    mixture = fit_mixture(X, Y, 1).mixture
    frame = infer(mixture, X, Y).params_frame()
    estimate = mixture.params["expert_covariance"][0]
    deviation = np.sqrt(np.diag(estimate))
    for i in range(3):
        row = frame.loc[("expert", 1, f"scale[y{i + 1}]")]
        assert_allclose(row["estimate"], deviation[i], rtol=1e-10)
        assert_allclose(row["std_err"], deviation[i] / np.sqrt(2 * n), rtol=1e-8)  # classical, one normal sample
        for j in range(i):
            row = frame.loc[("expert", 1, f"corr[y{i + 1},y{j + 1}]")]
            r = estimate[i, j] / deviation[i] / deviation[j]
            assert_allclose(row["estimate"], r, rtol=1e-8, atol=1e-10)
            assert_allclose(row["std_err"], (1 - r**2) / np.sqrt(n), rtol=1e-8)
            half = 1.959963984540054 / np.sqrt(n)
            assert_allclose([row["ci_lower"], row["ci_upper"]], np.tanh([np.arctanh(r) - half, np.arctanh(r) + half]))


def test_reported_derivatives(rng):
    names = ("expert[1]:log_scale[y1]", "expert[1]:cholesky[y2,y1]", "expert[1]:log_scale[y2]", "expert[2]:x")
    theta = rng.normal(size=4)
    links = ("log", "cholesky", "log", "identity")
    jacobian = reported(names, theta, links).jacobian
    for j in range(4):
        h = 1e-6 * np.eye(4)[j]
        numeric = (reported(names, theta + h, links).values - reported(names, theta - h, links).values) / 2e-6
        assert_allclose(jacobian[:, j], numeric, atol=1e-8)


def test_constant_gate_tied_and_known_scales(rng):
    X, y = _two_groups(rng, 300)
    tied = fit_mixture(X, y, 2, gate="constant", expert=GaussianExpert(variance="tied"), rng=0).mixture
    results = infer(tied, X, y)
    assert results.params.index.tolist()[-1] == "expert:log_scale"
    assert "All experts" in results.summary().as_text()
    known = fit_mixture(X, y, 2, expert=GaussianExpert(variance=0.5), rng=0).mixture
    assert not infer(known, X, y).params.index.str.contains("scale").any()


def test_box_bound_is_taken_as_known(rng):
    X, y = _two_groups(rng, 300)
    estimator = ms.MoERegressor(2, box={"expert_scale": (0.6, 5.0)}, random_state=0).fit(X, y)
    assert estimator.result_.active_bounds
    results = estimator.inference(X, y)
    assert set(results.fixed) == set(estimator.result_.active_bounds)
    assert results.bse[list(results.fixed)].isna().all()
    assert results.bse.drop(list(results.fixed)).notna().all()


def test_one_number_of_parameters_with_dependent_columns(rng):
    X, y = _two_groups(rng, 250, 2)
    X = np.column_stack([X, X[:, 0] - X[:, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        estimator = ms.MoERegressor(2, random_state=0).fit(X, y)
        results = estimator.inference(X, y)
    assert results.df_model == estimator.n_parameters_ == 11
    assert results.df_resid == 239
    assert_allclose([results.aic, results.bic], [estimator.aic(X, y), estimator.bic(X, y)], rtol=1e-12)
    assert not any("singular" in note for note in results.notes)


@pytest.mark.parametrize("box", [None, {"expert_coef": (-1e4, 1e4)}])
def test_penalised_fit_is_noted_without_a_warning(rng, box):
    X, y = _two_groups(rng, 300, 2)
    X = X @ [[100.0, 0.0], [30.0, 0.01]]  # the penalty is on whitened features
    estimator = ms.MoERegressor(2, gate_l2=5.0, box=box, random_state=0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InferenceWarning)
        results = estimator.inference(X, y)
    assert results.decrement < 1e-6
    assert "The gate is penalised (gate_l2=5)" in results.summary().as_text()
    bare = np.linalg.inv(-estimator.model_.hessian(X, y))
    assert_allclose(results.bse, np.sqrt(np.diag(bare)), rtol=1e-6)
    with pytest.warns(InferenceWarning, match="not the maximiser"):
        infer(estimator.model_, X, y)
    with pytest.warns(InferenceWarning, match="penalised log-likelihood can still gain"):
        infer(estimator.model_, X, y, gate_l2=50.0)
