"""Censored, interval-valued and truncated responses: probabilities, derivatives, whole fits."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

import moestat as ms
from moestat.experts import CensoredExpert, GammaExpert, NormalExpert, StudentTExpert

ETA, EXTRA = np.array([[[0.3], [-1.2]]]), np.array([[[-0.4], [0.2]]])
INTERVALS = np.array([[0.1, 0.5], [0.5, np.inf], [-np.inf, -0.2], [0.7, 0.7], [4.0, 4.5], [-np.inf, np.inf]]).T


def test_probabilities_are_those_of_scipy() -> None:
    y = INTERVALS
    eta, extra = np.repeat(ETA, y.shape[1], axis=2), EXTRA
    got = CensoredExpert(NormalExpert()).log_density(y, eta, extra)
    law = stats.norm(ETA[0], np.exp(EXTRA[0]))
    want = np.log(law.sf(y[0]) - law.sf(y[1]), where=y[0] < y[1], out=law.logpdf(y[0]))
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    low, high = -1.0, 2.0
    inside = y[:, [0, 3]]
    cut = CensoredExpert(NormalExpert(), low, high).log_density(inside, eta[..., :2], extra)
    np.testing.assert_allclose(cut, want[:, [0, 3]] - np.log(law.cdf(high) - law.cdf(low)), rtol=1e-12)


def test_derivatives_against_mpmath() -> None:
    mp.mp.dps = 50
    y = INTERVALS[:, [0, 1, 2, 4]]
    eta, extra = np.repeat(ETA, y.shape[1], axis=2), EXTRA
    first, second = CensoredExpert(NormalExpert()).derivatives(y, eta, extra)

    def log_probability(lower: float, upper: float):
        return lambda m, v: mp.log(mp.ncdf((mp.mpf(upper) - m) / mp.exp(v)) - mp.ncdf((mp.mpf(lower) - m) / mp.exp(v)))

    for b, (lower, upper) in enumerate(y.T):
        for k in range(2):
            at = (mp.mpf(float(ETA[0, k, 0])), mp.mpf(float(EXTRA[0, k, 0])))
            f = log_probability(float(lower), float(upper))
            want = [float(mp.diff(f, at, order)) for order in ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))]
            got = [*first[:, k, b], *second[:, k, b]]
            np.testing.assert_allclose(got, want, rtol=2e-9, atol=2e-9)


@pytest.mark.parametrize("family", [NormalExpert(), StudentTExpert(df=4.0), GammaExpert()], ids=lambda f: f.name)
def test_derivatives_are_those_of_the_log_density(family) -> None:
    expert = CensoredExpert(family, low=0.05, high=6.0)
    y = np.array([[0.1, 0.5], [0.5, np.inf], [-np.inf, 0.4], [0.7, 0.7], [2.0, 2.5]]).T
    eta, extra = np.repeat(ETA, y.shape[1], axis=2), EXTRA[: len(family.scalars)]
    first, second = expert.derivatives(y, eta, extra)
    h = 1e-4
    slope = (expert.log_density(y, eta + h, extra) - expert.log_density(y, eta - h, extra)) / (2 * h)
    np.testing.assert_allclose(first[0], slope, rtol=1e-6, atol=1e-7)
    bend = (expert.derivatives(y, eta + h, extra)[0] - expert.derivatives(y, eta - h, extra)[0]) / (2 * h)
    np.testing.assert_allclose(second[0], bend[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(second[1], bend[1], rtol=1e-5, atol=1e-5)


def test_fit_recovers_what_censoring_hides() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.5, 1.5, (800, 1))
    params = {
        "gate_coef": [[2.0], [0.0]], "gate_intercept": [0.2, 0.0], "expert_coef": [[1.0], [-1.0]],
        "expert_intercept": [1.0, -1.0], "expert_scale": [0.4, 0.3],
    }  # fmt: skip
    y = ms.ConditionalMixture("softmax", "normal", params).sample(X, rng)
    lower, upper = np.where(y > 1.5, 1.5, y), np.where(y > 1.5, np.inf, y)
    lower[::5], upper[::5] = np.floor(4 * lower[::5]) / 4, np.floor(4 * lower[::5]) / 4 + 0.25
    upper[(y > 1.5) & (np.arange(800) % 5 == 0)] = np.inf
    est = ms.MoERegressor(2, expert=CensoredExpert("normal"), n_init=2, random_state=0).fit(X, np.c_[lower, upper])
    assert est.converged_
    truth = ms.ConditionalMixture("softmax", CensoredExpert("normal"), params)
    assert est.loglik_ >= truth.log_density(X, np.c_[lower, upper]).sum()
    bse = est.inference(X, np.c_[lower, upper]).bse.to_numpy()
    assert np.isfinite(bse).all()
    assert abs(np.sort(est.expert_coef_.ravel()) - [-1.0, 1.0]).max() < 0.2
    assert est.predict_interval(X[:3]).shape == (3, 2)


def test_exact_responses_are_the_family_itself() -> None:
    X = np.linspace(-1, 1, 150)[:, None]
    y = np.abs(X[:, 0]) + 0.1 * np.sin(50 * X[:, 0])
    exact = ms.fit_mixture(X, np.c_[y, y], 2, expert=CensoredExpert("normal"), rng=0, n_init=4)
    plain = ms.fit_mixture(X, y, 2, rng=0, n_init=4)
    np.testing.assert_allclose(exact.result.loglik, plain.result.loglik, rtol=1e-9)


def test_bad_responses_are_named() -> None:
    X = np.zeros((4, 1)) + np.arange(4)[:, None]
    for y, message in (
        (np.array([1.0, 2, 3, 4]), "two"),
        (np.array([[1.0, 2], [3, 2], [1, 1], [2, 2]]), "row 1"),
        (np.array([[1.0, 2], [np.nan, 2], [1, 1], [2, 2]]), "row 1"),
        (np.array([[1.0, 2], [-3, -3], [1, 1], [2, 2]]), "row 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ms.fit_mixture(X, y, 1, expert=CensoredExpert("gamma"))
    with pytest.raises(ValueError, match="continuous"):
        CensoredExpert("poisson")
