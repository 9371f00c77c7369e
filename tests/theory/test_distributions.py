"""Laws of x."""

import numpy as np
import pytest
from scipy import integrate, stats

from moestat.distributions import Empirical, Normal, Uniform


def test_uniform_and_normal_sample_their_law(rng):
    for law, cdf in [(Uniform(-3.0, 1.0), stats.uniform(-3, 4).cdf), (Normal(1.0, 4.0), stats.norm(1, 2).cdf)]:
        draws = law.sample(4000, rng)
        assert draws.shape == (4000, 1)
        assert stats.kstest(draws[:, 0], cdf).pvalue > 1e-3
        assert integrate.quad(lambda x, law=law: law.density(np.array([x]))[0], *law.interval())[0] == pytest.approx(
            1.0
        )
        u = rng.random((50, 1))
        np.testing.assert_allclose(cdf(law.quantiles(u)), u, atol=1e-12)


def test_normal_has_its_covariance(rng):
    cov = np.array([[2.0, 0.6], [0.6, 1.0]])
    np.testing.assert_allclose(np.cov(Normal([0.0, 1.0], cov).sample(100_000, rng).T), cov, atol=0.05)
    assert Normal([0.0, 1.0], cov).n_features == 2


def test_empirical_draws_its_rows(rng):
    law = Empirical([[1.0, 2.0], [3.0, 4.0]])
    assert law.n_features == 2
    assert {tuple(row) for row in law.sample(100, rng)} == {(1.0, 2.0), (3.0, 4.0)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1.0, 1.0), "low must be below high"),
        (lambda: Uniform([0.0], [1.0, 2.0]), "shapes"),
        (lambda: Normal([0.0, 0.0], np.ones((2, 2))), "positive definite"),
        (lambda: Normal([0.0], np.eye(2)), "shapes"),
        (lambda: Empirical(np.zeros((0, 1))), "non-empty"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
