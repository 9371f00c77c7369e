"""What a fit predicts: exact quantiles and intervals, moments against Monte Carlo, criteria by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats

import moestat as ms
from moestat.mixture import ConditionalMixture


def mixture(intercepts: list[float], scales: list[float], gates: list[float]) -> ConditionalMixture:
    k = len(intercepts)
    params = {
        "gate_coef": [[0.5 * j] for j in range(k)],
        "gate_intercept": gates,
        "expert_coef": [[float(j)] for j in range(k)],
        "expert_intercept": intercepts,
        "expert_scale": scales,
    }
    return ConditionalMixture(params=params)


SHAPES = {
    "one bump": mixture([0.0, 0.5], [1.0, 1.2], [0.3, 0.0]),
    "two far bumps": mixture([-50.0, 50.0], [0.3, 0.2], [0.0, 0.0]),
    "three, very different scales": mixture([-5.0, 0.0, 8.0], [1e-3, 1.0, 30.0], [0.0, 1.0, -1.0]),
    "one expert is rare": mixture([0.0, 100.0], [1.0, 1.0], [20.0, 0.0]),
    "one expert is impossible": mixture([0.0, 100.0], [1.0, 1.0], [2000.0, 0.0]),
    "heavy shift": mixture([1e8, 1e8 + 3.0], [1.0, 2.0], [0.0, 0.0]),
}
LEVELS = [1e-12, 1e-6, 0.01, 0.25, 0.5, 0.75, 0.99, 1 - 1e-6, 1 - 1e-12]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("level", LEVELS)
def test_quantiles_are_roots_of_the_distribution_function(name: str, level: float) -> None:
    m = SHAPES[name]
    X = np.array([[-1.0], [0.0], [0.7]])
    found = m.quantile(X, level)
    assert np.isfinite(found).all()
    for i in range(len(X)):
        excess, ends, spread = tail_excess(m, X[i : i + 1], level)
        root = optimize.brentq(excess, ends[0], ends[1], xtol=1e-14, rtol=1e-15)
        # between far bumps the distribution function is flat, and any point of the plateau is a quantile
        near = abs(found[i] - root) <= 1e-9 * spread + 4.0 * np.spacing(abs(root))
        assert near or abs(excess(found[i])) <= 1e-9


def tail_excess(
    m: ConditionalMixture, X: np.ndarray, level: float
) -> tuple[Callable[[float], float], list[float], float]:
    """Logarithm of the smaller tail over what it should be, ends between which it vanishes, and the smallest deviation."""
    proba, mean, sd = m.gate_proba(X)[0], m.expert_mean(X)[0], m.expert_std(X)[0]
    live = proba > 0
    ends = stats.norm.ppf(level, mean[live], sd[live])
    reach = 1e-3 * sd.max()

    def excess(t: float) -> float:
        tail = stats.norm.sf if level > 0.5 else stats.norm.cdf
        return float(np.log(proba @ tail(t, mean, sd)) - np.log(1.0 - level if level > 0.5 else level))

    return excess, [float(ends.min() - reach), float(ends.max() + reach)], float(sd.min())


def test_quantiles_increase_with_the_level_and_have_the_shape_of_the_levels() -> None:
    m = SHAPES["three, very different scales"]
    X = np.linspace(-1, 1, 7)[:, None]
    levels = np.linspace(0.001, 0.999, 41)
    found = m.quantile(X, levels)
    assert found.shape == (7, 41)
    assert (np.diff(found, axis=1) > 0).all()
    assert m.quantile(X, 0.5).shape == (7,)
    assert m.quantile(X, [0.5]).shape == (7, 1)
    np.testing.assert_allclose(np.column_stack([m.cdf(X, q) for q in found.T]), np.tile(levels, (7, 1)), rtol=1e-10)
    for bad in (0.0, 1.0, -0.1, [0.5, 1.5], [], np.nan):
        with pytest.raises(ValueError, match="strictly between"):
            m.quantile(X, bad)


@pytest.fixture(scope="module")
def fit() -> tuple[ms.MoERegressor, ConditionalMixture, np.ndarray, np.ndarray]:
    truth = mixture([-2.0, 2.0], [0.5, 0.8], [0.4, 0.0])
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (3000, 1))
    y = truth.sample(X, rng)
    return ms.MoERegressor(random_state=0).fit(X, y), truth, X, y


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_intervals_cover(fit: tuple[ms.MoERegressor, ConditionalMixture, np.ndarray, np.ndarray], level: float) -> None:
    est, truth, _, _ = fit
    X = np.random.default_rng(1).uniform(-1.0, 1.0, (20_000, 1))
    y = truth.sample(X, np.random.default_rng(2))
    low, high = est.predict_interval(X, level).T
    inside = np.mean((low <= y) & (y <= high))
    assert abs(inside - level) < 0.02
    for bad in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match="level"):
            est.predict_interval(X, bad)


def test_moments_agree_with_monte_carlo(
    fit: tuple[ms.MoERegressor, ConditionalMixture, np.ndarray, np.ndarray],
) -> None:
    est = fit[0]
    for x in (-0.8, 0.0, 0.9):
        draws = est.sample(np.full((40_000, 1), x), random_state=4)
        mean, sd = est.predict([[x]])[0], est.predict_std([[x]])[0]
        assert abs(draws.mean() - mean) < 4.5 * sd / 200.0
        fourth = np.mean((draws - mean) ** 4)
        assert abs(draws.var() - sd**2) < 4.5 * np.sqrt((fourth - sd**4) / 40_000)


def test_criteria_by_hand(fit: tuple[ms.MoERegressor, ConditionalMixture, np.ndarray, np.ndarray]) -> None:
    est, _, X, y = fit
    n, p = len(y), 2 + 4 + 2
    proba, mean, sd = est.gate_proba(X), est.model_.expert_mean(X), est.expert_scale_
    joint = proba * stats.norm.pdf(y[:, None], mean, sd)
    loglik = float(np.log(joint.sum(axis=1)).sum())
    resp = joint / joint.sum(axis=1, keepdims=True)
    entropy = -float(np.sum(resp * np.log(resp, where=resp > 0, out=np.zeros_like(resp))))
    assert est.n_parameters_ == p
    assert est.loglik_ == pytest.approx(loglik, rel=1e-12)
    assert est.log_likelihood(X, y) == pytest.approx(loglik, rel=1e-12)
    assert est.aic(X, y) == pytest.approx(-2 * loglik + 2 * p, rel=1e-12)
    assert est.bic(X, y) == pytest.approx(-2 * loglik + p * np.log(n), rel=1e-12)
    assert est.icl(X, y) == pytest.approx(-2 * loglik + p * np.log(n) + 2 * entropy, rel=1e-10)
    weight = np.random.default_rng(0).integers(0, 3, n)
    again = float(est.log_density(np.repeat(X, weight, axis=0), np.repeat(y, weight)).sum())
    assert est.log_likelihood(X, y, weight) == pytest.approx(again, rel=1e-12)
    np.testing.assert_allclose(est.responsibilities(X, y), resp, rtol=1e-9, atol=1e-12)


def test_polynomial_estimator_is_the_gaussian_one_of_degree_two() -> None:
    rng = np.random.default_rng(5)
    X = rng.uniform(-1.0, 1.0, (300, 2))
    y = 1.0 + 2.0 * X[:, 0] - 3.0 * X[:, 1] ** 2 + 4.0 * X[:, 0] * X[:, 1] + 0.1 * rng.normal(size=300)
    one = ms.PolynomialMoERegressor(n_experts=1).fit(X, y)
    np.testing.assert_allclose(one.expert_coef_[0], [2.0, 0.0, 0.0, 4.0, -3.0], atol=0.1)
    assert one.model_.free_names()[:6] == [f"expert[1]:{t}" for t in ("Intercept", "x1", "x2", "x1^2", "x1 x2", "x2^2")]
    for other in (ms.GaussianMoERegressor(n_experts=1, degree=2), ms.MoERegressor(n_experts=1, degree=2)):
        np.testing.assert_array_equal(other.fit(X, y).predict(X), one.predict(X))


def test_quantiles_of_several_responses_name_the_method() -> None:
    rng = np.random.default_rng(6)
    X = rng.normal(size=(80, 1))
    est = ms.MoERegressor(1).fit(X, X @ [[1.0, 2.0]] + rng.normal(size=(80, 2)))
    with pytest.raises(ValueError, match=r"^predict_interval is defined for one response; this fit has 2"):
        est.predict_interval(X)
    with pytest.raises(ValueError, match=r"^predict_quantile is defined for one response; this fit has 2"):
        est.predict_quantile(X, 0.5)


def test_criteria_of_weights_are_those_of_repeated_rows() -> None:
    rng = np.random.default_rng(7)
    X = rng.normal(size=(90, 1))
    y = X[:, 0] + rng.normal(size=90)
    weight = rng.integers(0, 3, 90)
    est = ms.MoERegressor(2, n_init=2, random_state=0).fit(X, y, sample_weight=weight)
    rows = np.repeat(np.arange(90), weight)
    for name in ("aic", "bic", "icl"):
        criterion = getattr(est, name)
        assert criterion(X, y, sample_weight=weight) == pytest.approx(criterion(X[rows], y[rows]), rel=1e-12)
