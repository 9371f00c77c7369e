"""Regression functions: predictions against plain formulas, parameters, inference against SciPy, estimators, files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.model_selection import GridSearchCV

import moestat as ms
from moestat.experts import GaussianExpert, NonlinearExpert
from moestat.gates import SigmoidGate

GATE = {"gate_coef": [[1.0, -0.5], [-1.2, 0.3]], "gate_intercept": [0.2, -0.4]}
EXPERT = {"expert_coef": [[-0.8, 0.6], [1.1, 0.4]], "expert_intercept": [0.5, -0.2]}
OUTPUT = {"expert_output": [1.5, -0.7]}
X = np.random.default_rng(0).uniform(-2.0, 2.0, (50, 2))


def functions() -> list[ms.RegressionFunction]:
    softmax = {"gate_coef": [[1.0, -0.5], [0.0, 0.0]], "gate_intercept": [0.2, 0.0]}
    return [
        ms.RegressionFunction("softmax", "gaussian", {**softmax, **EXPERT}, 0.3),
        ms.RegressionFunction("sigmoid", "gaussian", {**GATE, **EXPERT}, 0.3),
        ms.RegressionFunction("sigmoid", NonlinearExpert(activation="gelu"), {**GATE, **EXPERT, **OUTPUT}, 0.3),
    ]


def by_hand(f: ms.RegressionFunction, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and means of the experts from the parameters."""
    p = f.params
    scores, eta = X @ p["gate_coef"].T + p["gate_intercept"], X @ p["expert_coef"].T + p["expert_intercept"]
    weights = (
        np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        if f.gate.name == "softmax"
        else 1.0 / (1.0 + np.exp(-scores))
    )
    return weights, p["expert_output"] * eta * stats.norm.cdf(eta) if "expert_output" in p else eta


@pytest.mark.parametrize("i", range(3))
def test_predictions(i: int) -> None:
    f = functions()[i]
    weights, means = by_hand(f, X)
    np.testing.assert_allclose(f.gate_weights(X), weights, rtol=1e-12)
    np.testing.assert_allclose(f.expert_mean(X), means, rtol=1e-12)
    mean = (weights * means).sum(axis=1)
    np.testing.assert_allclose(f.mean(X), mean, rtol=1e-11, atol=1e-14)
    law = stats.norm(mean, 0.3)
    y = mean + np.linspace(-2.0, 2.0, 50)
    np.testing.assert_allclose(f.log_density(X, y), law.logpdf(y), rtol=1e-12)
    np.testing.assert_allclose(f.cdf(X, y), law.cdf(y), rtol=1e-10)
    np.testing.assert_allclose(f.quantile(X, [0.1, 0.9]), np.column_stack([law.ppf(0.1), law.ppf(0.9)]), rtol=1e-10)
    np.testing.assert_allclose(f.quantile(X, 0.5), mean, rtol=1e-11, atol=1e-14)
    np.testing.assert_array_equal(f.std(X), 0.3)
    np.testing.assert_allclose(f.responsibilities(X, y).sum(axis=1), 1.0)
    total = integrate.quad(lambda t: float(np.exp(f.log_density(X[:1], [t])[0])), mean[0] - 3.0, mean[0] + 3.0)[0]
    assert total == pytest.approx(1.0, abs=1e-9)
    draws = f.sample(np.repeat(X[:1], 20_000, axis=0), 1)
    assert stats.kstest(draws, stats.norm(mean[0], 0.3).cdf).pvalue > 1e-3


@pytest.mark.parametrize("i", range(3))
def test_parameters_go_round(i: int) -> None:
    f = functions()[i]
    assert isinstance(f.permuted([1, 0]), ms.RegressionFunction)
    for other in (f.permuted([1, 0]).permuted([1, 0]), f.with_free_vector(f.free_vector()), f.canonical()):
        assert isinstance(other, ms.RegressionFunction)
        assert other.noise_std == 0.3
        np.testing.assert_allclose(other.mean(X), f.mean(X), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(f.permuted([1, 0]).mean(X), f.mean(X), rtol=1e-12, atol=1e-14)
    names = f.free_names()
    assert len(names) == f.free_vector().size == len(f.free_links())
    assert names[-1] == ("expert[2]:output" if i == 2 else "expert[2]:x2")
    copy = pickle.loads(pickle.dumps(f))
    np.testing.assert_array_equal(copy.mean(X), f.mean(X))
    assert "noise_std=0.3" in repr(f)


@pytest.mark.parametrize("i", range(3))
def test_scores_and_hessian_are_derivatives_of_the_density(i: int) -> None:
    f = functions()[i]
    y = f.sample(X, 0)
    theta, h = f.free_vector(), 1e-5
    numeric = np.column_stack(
        [
            (f.with_free_vector(theta + step).log_density(X, y) - f.with_free_vector(theta - step).log_density(X, y))
            / (2 * h)
            for step in h * np.eye(theta.size)
        ]
    )
    np.testing.assert_allclose(f.scores(X, y), numeric, rtol=1e-6, atol=1e-6)
    w = np.arange(50.0)
    slopes = [
        (w @ f.with_free_vector(theta + s).scores(X, y) - w @ f.with_free_vector(theta - s).scores(X, y)) / (2 * h)
        for s in h * np.eye(theta.size)
    ]
    np.testing.assert_allclose(f.hessian(X, y, w), slopes, rtol=1e-5, atol=1e-3)


def test_mixing_measures() -> None:
    softmax, sigmoid, nonlinear = (f.mixing_measure() for f in functions())
    np.testing.assert_allclose(softmax.weights, np.exp([0.2, 0.0]))
    assert softmax.gauge == "softmax"
    for measure in (sigmoid, nonlinear):
        np.testing.assert_allclose(measure.weights, 1.0 / (1.0 + np.exp([-0.2, 0.4])))
        assert measure.gauge == "none"
        np.testing.assert_array_equal(measure.atoms["gate_intercept"], [0.2, -0.4])
    np.testing.assert_array_equal(nonlinear.atoms["output"], OUTPUT["expert_output"])


def test_what_has_no_meaning_is_refused() -> None:
    f = functions()[0]
    for call in (
        lambda: f.expert_std(X),
        lambda: f.expert_log_density(X, X[:, 0]),
        lambda: f.sample(X, 0, return_labels=True),
    ):
        with pytest.raises(ValueError, match="the noise of a regression function is that of the weighted sum"):
            call()
    with pytest.raises(ValueError, match=r"q=1\.5 must be one level"):
        f.quantile(X, 1.5)
    for noise in (0.0, np.inf, "loud"):
        with pytest.raises(ValueError, match=r"noise_std=.* must be a positive, finite"):
            ms.RegressionFunction("softmax", "gaussian", f.params, noise)
    with pytest.raises(ValueError, match="unknown keys \\['expert_scale'\\]"):
        ms.RegressionFunction("softmax", "gaussian", {**f.params, "expert_scale": [1.0, 1.0]})
    with pytest.raises(ValueError, match="cannot tell from the experts' coefficients"):
        ms.RegressionFunction("constant", "gaussian", EXPERT | {"gate_intercept": [0.0, 0.0]})


# -- inference --------------------------------------------------------------------------------------------------------


def fitted() -> tuple[Any, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    X = rng.uniform(-3.0, 3.0, (400, 1))
    truth = ms.RegressionFunction(
        "sigmoid",
        NonlinearExpert(output=False),
        {
            "gate_coef": [[0.6], [-1.1]],
            "gate_intercept": [-0.5, -0.2],
            "expert_coef": [[-1.8], [1.7]],
            "expert_intercept": [2.0, 1.5],
        },
        0.1,
    )
    y = truth.sample(X, rng)
    return ms.fit_least_squares(X, y, 2, gate="sigmoid", expert=truth.expert, init=truth.params), X, y


def test_standard_errors_by_hand() -> None:
    found, X, y = fitted()
    f, n = found.function, len(X)
    theta, h = f.free_vector(), 1e-5
    slopes = np.column_stack(
        [
            (f.with_free_vector(theta + s).mean(X) - f.with_free_vector(theta - s).mean(X)) / (2 * h)
            for s in h * np.eye(theta.size)
        ]
    )
    residual = y - f.mean(X)
    assert f.noise_std == pytest.approx(np.sqrt(residual @ residual / n), rel=1e-9)
    gram = slopes.T @ slopes
    s2 = residual @ residual / (n - theta.size)
    classical = ms.inference.infer(f, X, y, cov_type="classical")
    np.testing.assert_allclose(classical.cov_params(), s2 * np.linalg.inv(gram), rtol=1e-4, atol=1e-8)
    hessian = np.stack(
        [
            (
                f.with_free_vector(theta + s).scores(X, y).sum(axis=0)
                - f.with_free_vector(theta - s).scores(X, y).sum(axis=0)
            )
            / (2 * h)
            for s in h * np.eye(theta.size)
        ]
    )
    bread = np.linalg.inv(-hessian)
    observed = ms.inference.infer(f, X, y)
    np.testing.assert_allclose(observed.cov_params(), bread, rtol=1e-4, atol=1e-8)
    scores = residual[:, None] * slopes / f.noise_std**2
    sandwich = ms.inference.infer(f, X, y, cov_type="sandwich")
    np.testing.assert_allclose(sandwich.cov_params(), bread @ scores.T @ scores @ bread, rtol=1e-4, atol=1e-8)
    groups = np.arange(n) // 8
    totals = np.stack([scores[groups == k].sum(axis=0) for k in range(n // 8)])
    clustered = ms.inference.infer(f, X, y, cov_type="cluster", groups=groups)
    np.testing.assert_allclose(clustered.cov_params(), bread @ totals.T @ totals @ bread, rtol=1e-4, atol=1e-8)
    assert observed.llf == pytest.approx(found.result.loglik, rel=1e-12)
    assert "Noise (std):" in str(observed.summary())
    assert "Gauss-Newton, n - p" in str(classical.summary())
    assert observed.decrement < 1e-8


def test_classical_errors_are_of_least_squares_only() -> None:
    found, X, y = fitted()
    with pytest.raises(ValueError, match="cov_type='classical' is for least squares"):
        ms.inference.infer(ms.fit_mixture(X, y, 1).mixture, X, y, cov_type="classical")
    with pytest.raises(ValueError, match="divides by n - p = 0"):
        ms.inference.infer(found.function, X[:8], y[:8], cov_type="classical")


# -- estimators -------------------------------------------------------------------------------------------------------


LINES = {
    "gate_coef": [[3.0], [0.0]],
    "gate_intercept": [0.5, 0.0],
    "expert_coef": [[-2.0], [2.0]],
    "expert_intercept": [1.0, -1.0],
}
BUMP = {"gate_coef": [[0.5, -1.0]], "gate_intercept": [1.0], "expert_coef": [[2.0]], "expert_intercept": [1.0]}


def drawn(truth: ms.RegressionFunction, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.uniform(-3.0, 3.0, (n, 1))
    return X, truth.sample(X, rng)


def test_estimators_are_the_function_that_is_fitted(tmp_path: Path) -> None:
    _, *waves = fitted()
    lines = drawn(ms.RegressionFunction("softmax", "gaussian", LINES, 0.1))
    bump = drawn(ms.RegressionFunction(SigmoidGate(2), "gaussian", BUMP, 0.1))
    for est, (X, y) in (
        (ms.MoERegressor(2, objective="least_squares", random_state=0), lines),
        (ms.SigmoidMoERegressor(2, expert=NonlinearExpert(output=False), random_state=0), waves),
        (ms.SigmoidMoERegressor(1, gate=SigmoidGate(2)), bump),
    ):
        est.fit(X, y)
        assert isinstance(est.model_, ms.RegressionFunction)
        plain = ms.fit_least_squares(X, y, est.n_experts, gate=est.gate, expert=est.expert, rng=0).function
        np.testing.assert_allclose(est.predict(X), plain.mean(X), rtol=1e-12)
        assert est.noise_std_ == plain.noise_std
        assert est.score(X, y) > 0.9
        assert est.loglik_ == pytest.approx(est.log_likelihood(X, y), rel=1e-9)
        coverage = np.mean((est.predict_interval(X, 0.9) - y[:, None]).prod(axis=1) < 0)
        assert 0.85 < coverage < 0.95
        assert est.expert_coef_.shape == (est.n_experts, 1)
        with pytest.raises(AttributeError, match="no expert_scale_"):
            _ = est.expert_scale_
        for name in ("model.json", "model.npz"):
            back = ms.load(est.save(tmp_path / name))
            np.testing.assert_array_equal(back.predict(X), est.predict(X))
            assert back.noise_std_ == est.noise_std_
            assert type(back.model_) is ms.RegressionFunction
            np.testing.assert_array_equal(back.inference(X, y).bse, est.inference(X, y).bse)


def test_estimators_refuse_and_remember() -> None:
    X, y = drawn(ms.RegressionFunction("softmax", "gaussian", LINES, 0.1), 150)
    with pytest.raises(ValueError, match="objective='median' is not known"):
        ms.MoERegressor(objective="median").fit(X, y)
    with pytest.raises(ValueError, match="least squares takes no offset"):
        ms.MoERegressor(objective="least_squares").fit(X, y, offset=y)
    with pytest.raises(ValueError, match="y has 2 columns"):
        ms.SigmoidMoERegressor().fit(X, np.column_stack([y, y]))
    with pytest.raises(AttributeError, match="no attribute 'noise_std_'"):
        _ = ms.MoERegressor(1).fit(X, y).noise_std_
    est = ms.MoERegressor(2, objective="least_squares", warm_start=True, random_state=0, n_init=2).fit(X, y)
    assert est.fit(X, y).n_iter_ <= 3
    est.set_params(objective="likelihood", gate_l2=1.0).fit(X, y)  # the other objective's parameters are no start
    assert not isinstance(est.model_, ms.RegressionFunction)


def test_hyperparameters_are_reached_by_a_search() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, (120, 1))
    y = np.tanh(3.0 * X[:, 0]) + 0.1 * rng.normal(size=120)
    est = ms.MoERegressor(1, expert=NonlinearExpert(output=False), objective="least_squares")
    search = GridSearchCV(est, {"expert__activation": ["tanh", "identity"]}, cv=2).fit(X, y)
    assert search.best_params_ == {"expert__activation": "tanh"}
    assert ms.fit_least_squares(X, y, 1, expert=GaussianExpert(2)).function.params["expert_coef"].shape == (1, 2)
