"""Discrete families as distributions: sums, SciPy and statsmodels, quantiles, samples."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats
from statsmodels.discrete.count_model import ZeroInflatedNegativeBinomialP, ZeroInflatedPoisson
from statsmodels.discrete.truncated_model import TruncatedLFNegativeBinomialP, TruncatedLFPoisson

from moestat.experts.base import Expert
from moestat.experts.binomial import BinomialExpert
from moestat.experts.hurdle import HurdleNegativeBinomialExpert, HurdlePoissonExpert
from moestat.experts.multinomial import MultinomialExpert
from moestat.experts.negative_binomial import NegativeBinomialExpert
from moestat.experts.poisson import PoissonExpert
from moestat.experts.zero_inflated import ZeroInflatedNegativeBinomialExpert, ZeroInflatedPoissonExpert

Array = NDArray[np.float64]
NONE: Array = np.empty((0, 1, 1))
EXPERTS: list[Expert] = [
    PoissonExpert(),
    NegativeBinomialExpert(),
    ZeroInflatedPoissonExpert(),
    ZeroInflatedNegativeBinomialExpert(),
    HurdlePoissonExpert(),
    HurdleNegativeBinomialExpert(),
    BinomialExpert(),
    BinomialExpert(trials=12),
]
BY_NAME = pytest.mark.parametrize("expert", EXPERTS, ids=lambda e: f"{e.name}{getattr(e, 'trials', '')}")
VALUES = {"log_dispersion": [-7.0, -1.0, 0.5], "logit_zero": [-18.0, -1.5, 0.8]}


def grid(expert: Expert) -> list[tuple[Array, Array]]:
    """Log means from rare to a hundred, K = 2 experts with every pair of scalars."""
    eta = np.linspace(-4.0, 4.6, 7)[None, None] + np.array([0.0, -0.3])[None, :, None]
    scalars = product(*(VALUES[s.label] for s in expert.scalars))
    return [(eta, np.reshape([[v, v - 0.2] for v in values], (len(values), 2, 1))) for values in scalars]


def masses(expert: Expert, eta: Array, extra: Array) -> Array:
    """Probabilities of 0, 1, 2, … up to where nothing is left, `(counts, K, B)`."""
    counts = np.arange(getattr(expert, "trials", 9000) + 1.0)[None]
    columns = [np.broadcast_to(eta[:, :, j : j + 1], (1, eta.shape[1], counts.shape[1])) for j in range(eta.shape[2])]
    return np.exp(np.stack([expert.log_density(counts, column, extra).T for column in columns], axis=2))


@BY_NAME
def test_probabilities_sum_to_one_and_give_moments_cdf_and_quantiles(expert: Expert) -> None:
    for eta, extra in grid(expert):
        p = masses(expert, eta, extra)
        counts, total = np.arange(len(p))[:, None, None], np.cumsum(p, axis=0)
        mean, variance = expert.moments(eta, extra)
        first = (counts * p).sum(axis=0)
        np.testing.assert_allclose(total[-1], 1.0, rtol=1e-12)
        np.testing.assert_allclose(mean, first, rtol=1e-11)
        np.testing.assert_allclose(variance, ((counts - first) ** 2 * p).sum(axis=0), rtol=1e-9)
        for y in (-1.0, -0.5, 0.0, 0.7, 1.0, 5.0, 11.0, 1e4, np.inf):
            wanted = total[int(min(y, len(p) - 1))] if y >= 0.0 else 0.0
            np.testing.assert_allclose(
                expert.cdf(np.full((1, eta.shape[2]), y), eta, extra), wanted, rtol=1e-12, atol=1e-14
            )
        for q in (1e-4, 0.05, 0.5, 0.9, 0.9999):
            np.testing.assert_array_equal(expert.quantile(q, eta, extra), (total < q).sum(axis=0))


@BY_NAME
def test_quantile_forgives_rounding_and_nothing_more(expert: Expert) -> None:
    for eta, extra in grid(expert):
        one, pair = eta[:, :1, 3:4], extra[:, :1]
        for k in np.arange(5.0)[: getattr(expert, "trials", 5)]:
            level = expert.cdf(np.full((1, 1), k), one, pair).item()
            if level < 1.0 - 1e-9:
                assert expert.quantile(level * (1.0 + 1e-15), one, pair).item() == k
                assert expert.quantile(level * (1.0 + 1e-12), one, pair).item() == k + 1.0


@BY_NAME
def test_sample_follows_the_distribution_function(expert: Expert, rng: np.random.Generator) -> None:
    n = 20_000
    for eta, extra in grid(expert)[1:3] or grid(expert):
        for column in (1, 5):
            one = eta[:, 0, column : column + 1]
            drawn = expert.sample(np.tile(one, n), np.tile(extra[:, 0], n), rng)
            assert drawn.shape == (1, n)
            counts = np.unique(drawn)
            share = np.searchsorted(np.sort(drawn[0]), counts, side="right") / n
            exact = expert.cdf(counts[None], np.broadcast_to(one[:, None], (1, 1, len(counts))), extra[:, :1])[0]
            assert np.abs(share - exact).max() < 1.95 / np.sqrt(n)  # Kolmogorov's 0.1 % for continuous laws


@pytest.mark.parametrize("log_mean", [-30.0, 30.0, 44.0])
def test_sample_at_remote_means(log_mean: float, rng: np.random.Generator) -> None:
    eta = np.full((1, 2000), log_mean)
    assert PoissonExpert().sample(eta, np.empty((0, 2000)), rng).mean() == pytest.approx(
        np.exp(log_mean), rel=1e-6, abs=1e-9
    )
    hurdle = HurdlePoissonExpert().sample(eta, np.full((1, 2000), -29.0), rng)
    assert hurdle.mean() == pytest.approx(max(1.0, np.exp(log_mean)), rel=1e-6)


def test_log_densities_of_scipy() -> None:
    y = np.array([[0.0, 1.0, 3.0, 20.0, 500.0]])
    for log_mean, alpha in product([-5.0, 0.3, 3.0, 6.0], [1e-3, 0.4, 9.0]):
        eta, mu, r = np.full((1, 1, 5), log_mean), np.exp(log_mean), 1.0 / alpha
        extra = np.full((1, 1, 1), np.log(alpha))
        np.testing.assert_allclose(
            PoissonExpert().log_density(y, eta, NONE)[0], stats.poisson.logpmf(y[0], mu), rtol=1e-12
        )
        wanted = stats.nbinom.logpmf(y[0], r, r / (r + mu))
        np.testing.assert_allclose(NegativeBinomialExpert().log_density(y, eta, extra)[0], wanted, rtol=1e-9)
    trials, p = np.array([0.0, 4.0, 3.0, 21.0, 900.0]), 1.0 / (1.0 + np.exp(-0.4))
    value = BinomialExpert().log_density(np.stack([y[0], trials]), np.full((1, 1, 5), 0.4), NONE)
    np.testing.assert_allclose(value[0], stats.binom.logpmf(y[0], trials, p), rtol=1e-12)
    counts, eta = np.array([[3.0, 0.0], [1.0, 0.0], [6.0, 2.0]]), np.array([0.3, -1.0])
    proba = np.exp([*eta, 0.0]) / np.exp([*eta, 0.0]).sum()
    value = MultinomialExpert().log_density(counts, np.tile(eta[:, None, None], (1, 1, 2)), NONE)
    np.testing.assert_allclose(value[0], stats.multinomial.logpmf(counts.T, counts.sum(axis=0), proba), rtol=1e-12)


def test_log_likelihoods_of_statsmodels(rng: np.random.Generator) -> None:
    n, alpha, logit = 60, 0.7, -0.6
    X = sm.add_constant(rng.normal(size=(n, 1)))
    y = rng.negative_binomial(1.5, 0.3, n) * (rng.random(n) < 0.8)
    eta = np.array([0.9, 0.4])
    positive = y > 0
    models: list[tuple[Expert, Any, list[float], list[float], NDArray[np.bool_]]] = [
        (NegativeBinomialExpert(), sm.NegativeBinomial, [*eta, np.log(alpha)], [np.log(alpha)], y >= 0),
        (ZeroInflatedPoissonExpert(), ZeroInflatedPoisson, [logit, *eta], [logit], y >= 0),
        (
            ZeroInflatedNegativeBinomialExpert(),
            ZeroInflatedNegativeBinomialP,
            [logit, *eta, alpha],
            [np.log(alpha), logit],
            y >= 0,
        ),
        (HurdlePoissonExpert(), TruncatedLFPoisson, [*eta], [logit], positive),
        (HurdleNegativeBinomialExpert(), TruncatedLFNegativeBinomialP, [*eta, alpha], [np.log(alpha), logit], positive),
    ]
    for expert, model, theirs, mine, rows in models:
        extra = np.reshape(mine, (len(mine), 1, 1))
        value = expert.log_density(y[None, rows].astype(float), (X[rows] @ eta)[None, None], extra)[0]
        value = value + (np.log1p(np.exp(logit)) if "hurdle" in expert.name else 0.0)  # theirs is the positive part
        np.testing.assert_allclose(value, model(y[rows], X[rows]).loglikeobs(np.array(theirs)), rtol=1e-8, atol=1e-10)


def test_binomial_is_multinomial_with_two_classes() -> None:
    """Class 0 is the success; counts of both classes are successes and failures."""
    eta = np.array([-31.0, -2.0, 0.0, 0.3, 25.0])[None, None]
    success, trials = np.array([1.0, 0.0, 4.0, 9.0, 7.0]), np.array([1.0, 1.0, 4.0, 20.0, 7.0])
    pairs = [
        (np.minimum(success, 1.0)[None], 1.0 - np.minimum(success, 1.0)[None]),
        (np.stack([success, trials]), np.stack([success, trials - success])),
    ]
    for mine, theirs in pairs:
        np.testing.assert_allclose(
            BinomialExpert().log_density(mine, eta, NONE),
            MultinomialExpert().log_density(theirs, eta, NONE),
            rtol=1e-14,
        )
        for a, b in zip(
            BinomialExpert().derivatives(mine, eta, NONE),
            MultinomialExpert().derivatives(theirs, eta, NONE),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-14)


def test_class_probabilities_moments_and_sample(rng: np.random.Generator) -> None:
    expert, eta = MultinomialExpert(), np.array([0.5, -800.0, 1.0])[:, None, None]
    proba = expert.class_proba(eta)
    np.testing.assert_allclose(
        proba.ravel(), np.exp([0.5, -800.0, 1.0, 0.0]) / np.exp([0.5, -800.0, 1.0, 0.0]).sum(), rtol=1e-15
    )
    mean, variance = expert.moments(eta, NONE)
    np.testing.assert_array_equal(mean, proba)
    np.testing.assert_allclose(variance, proba * (1.0 - proba), rtol=1e-14)
    drawn = expert.sample(np.tile(eta[:, 0], 40_000), np.empty((0, 40_000)), rng)
    share = np.bincount(drawn[0].astype(int), minlength=4) / 40_000
    assert drawn.shape == (1, 40_000)
    assert share[1] == 0.0
    np.testing.assert_allclose(share, proba.ravel(), atol=4 * np.sqrt(0.25 / 40_000))
    assert expert.log_proba(np.array([[[800.0]]])).ravel().tolist() == [0.0, -800.0]


@pytest.mark.parametrize("alpha", [1e-12, 1e-3, 1e3])
def test_tails_of_counts_of_any_size(alpha: float) -> None:
    """Far out P(Y <= k) and P(Y > k) are one, and the median of a large count is near its mean where it hardly varies."""
    expert = NegativeBinomialExpert()
    eta, extra = np.array([[[-20.0, 0.0, 12.0, 27.0]]]), np.full((1, 1, 1), np.log(alpha))
    k = np.array([0.0, 3.0, 160_000.0, 5e11])
    np.testing.assert_allclose(expert.below(k, eta, extra) + expert.above(k, eta, extra), 1.0, rtol=1e-13)
    if alpha == 1e-12:
        np.testing.assert_allclose(expert.below(k, eta, extra), PoissonExpert().below(k, eta, NONE), rtol=1e-5)
        assert expert.quantile(0.5, eta, extra)[0, 3] == pytest.approx(np.exp(27.0), rel=1e-9)
