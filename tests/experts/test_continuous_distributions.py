"""Distribution functions, tails, quantiles, moments and samplers of the continuous families: quadrature, mpmath and SciPy."""

from __future__ import annotations

from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from moestat.experts.beta import BetaExpert
from moestat.experts.continuous import gaussian_log_cdf, gaussian_log_sf
from moestat.experts.gamma import GammaExpert
from moestat.experts.inverse_gaussian import InverseGaussianExpert
from moestat.experts.laplace import LaplaceExpert
from moestat.experts.skew_normal import SkewNormalExpert
from moestat.experts.student_t import StudentTExpert

from .continuous_families import FAMILIES, Family, Point, arrays, every_family

ORDINARY = [(family, point) for family in FAMILIES for point in family.ordinary]
MOST = (1e-13, 1.0 - 1e-13)
every_ordinary = pytest.mark.parametrize(("family", "point"), ORDINARY, ids=[f"{f.name}{p}" for f, p in ORDINARY])


def tails(family: Family, point: Point) -> tuple[float, float]:
    """`log_cdf` and `log_sf` at the point."""
    return family.expert.log_cdf(*arrays(point)).item(), family.expert.log_sf(*arrays(point)).item()


def area(family: Family, point: Point, low: float, high: float, power: int = 0) -> float:
    """`∫ y^power f dy` between the quantiles at `low` and `high`: in y, log y or logit y, by pieces between the quantiles in the middle."""
    _, eta, extra = arrays(point)
    cuts = [
        q for q in (1e-9, 1e-4, 0.02, 0.3, 0.49, 0.498, 0.502, 0.51, 0.7, 0.98, 1 - 1e-4, 1 - 1e-9) if low < q < high
    ]
    y = np.array([family.expert.quantile(q, eta, extra).item() for q in (low, *cuts, high)])
    ends = family.expert.starting_response(y)
    nodes, weights = np.polynomial.legendre.leggauss(80)
    total = 0.0
    for a, b in pairwise(ends):
        w = 0.5 * (a + b) + 0.5 * (b - a) * nodes
        if family.expert.ends == (0.0, np.inf):
            y, slope = np.exp(w), np.exp(w)
        elif family.expert.ends == (0.0, 1.0):
            y, slope = expit(w), expit(w) * expit(-w)
        else:
            y, slope = w, np.ones_like(w)
        value = y**power * slope * np.exp(family.expert.log_density(y[None], eta, extra)[0])
        total += float(0.5 * (b - a) * (weights @ value))
    return total


@every_ordinary
def test_distribution_function_is_the_integral_of_the_density(family: Family, point: Point) -> None:
    y, eta, extra = arrays(point)
    assert area(family, point, *MOST) == pytest.approx(1.0, abs=1e-11)
    for q in (0.03, 0.6):
        at = family.expert.quantile(q, eta, extra)
        below = area(family, point, MOST[0], q)
        assert family.expert.cdf(at[0][None], eta, extra).item() == pytest.approx(q, rel=1e-12)
        assert below == pytest.approx(q, abs=1e-11)
    log_cdf, log_sf = tails(family, point)
    assert np.exp(log_cdf) + np.exp(log_sf) == pytest.approx(1.0, abs=1e-13)
    assert family.expert.cdf(y, eta, extra).item() == pytest.approx(np.exp(log_cdf), rel=1e-14)


@every_ordinary
def test_moments_are_integrals(family: Family, point: Point) -> None:
    _, eta, extra = arrays(point)
    mean, variance = (value.item() for value in family.expert.moments(eta, extra))
    if family.expert.name == "student_t":
        df = 4.0 if family.expert.df == 4 else float(np.exp(point[3]))
        exact = stats.t(df, point[1], np.exp(point[2]))
        assert (mean, variance) == pytest.approx((exact.mean(), exact.var()), rel=1e-12)
        return
    first = area(family, point, *MOST, 1)
    assert mean == pytest.approx(first, rel=1e-8, abs=1e-8)
    assert variance == pytest.approx(area(family, point, *MOST, 2) - first**2, rel=1e-6)


@pytest.mark.parametrize(("df", "mean", "variance"), [(0.9, np.nan, np.nan), (1.5, 0.0, np.inf), (2.0, 0.0, np.inf)])
def test_student_moments_that_do_not_exist(df: float, mean: float, variance: float) -> None:
    ours = StudentTExpert(df=df).moments(np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))
    np.testing.assert_array_equal([value.item() for value in ours], [mean, variance])


IN_SCIPY = [(family, point) for family, point in ORDINARY if family.frozen]


@pytest.mark.parametrize(("family", "point"), IN_SCIPY, ids=[f"{f.name}{p}" for f, p in IN_SCIPY])
def test_agrees_with_scipy(family: Family, point: Point) -> None:
    y, eta, extra = arrays(point)
    exact = family.frozen(*point[1:])
    log_cdf, log_sf = tails(family, point)
    assert family.expert.log_density(y, eta, extra).item() == pytest.approx(
        exact.logpdf(point[0]), rel=1e-11, abs=1e-12
    )
    assert log_cdf == pytest.approx(exact.logcdf(point[0]), rel=1e-9, abs=1e-12)
    assert log_sf == pytest.approx(exact.logsf(point[0]), rel=1e-9, abs=1e-12)
    for q in (1e-3, 0.4, 0.99):
        assert family.expert.quantile(q, eta, extra).item() == pytest.approx(exact.ppf(q), rel=1e-7)


@every_family
def test_quantile_inverts_both_tails(family: Family) -> None:
    points = np.array(family.ordinary)
    k = len(points)
    eta, extra = np.repeat(points[:, 1][None, :, None], 2, axis=2), points[:, 2:].T[:, :, None]
    for q in (1e-200, 1e-9, 1e-3, 0.2, 0.5, 0.500001, 0.8, 0.999, 1.0 - 1e-9):
        y = family.expert.quantile(q, eta, extra)
        assert y.shape == (k, 2)
        for e in range(k):
            low, high = family.expert.ends
            if not low + 1e-307 < y[e, 0] < high or abs(y[e, 0]) > 1e140:
                continue  # the quantile is not a number of double precision
            one = y[e][None], eta[:, e : e + 1], extra[:, e : e + 1]
            ours = family.expert.log_cdf(*one) if q <= 0.5 else family.expert.log_sf(*one)
            # beside rounding of the logarithm, that of y
            slope = np.exp(family.expert.log_density(*one) - ours) * np.abs(y[e]) * 4e-16
            assert (np.abs(ours - np.log(min(q, 1.0 - q))) <= 2e-13 * -np.log(min(q, 1.0 - q)) + slope).all(), (q, e)


@every_family
def test_ends_of_the_support(family: Family) -> None:
    low, high = family.expert.ends
    _, eta, extra = arrays(family.ordinary[0])
    outside = np.array([[-np.inf, low, high, np.inf]])
    np.testing.assert_array_equal(family.expert.log_cdf(outside, eta, extra)[0], [-np.inf, -np.inf, 0.0, 0.0])
    np.testing.assert_array_equal(family.expert.log_sf(outside, eta, extra)[0], [0.0, 0.0, -np.inf, -np.inf])
    np.testing.assert_array_equal(family.expert.log_density(outside, eta, extra)[0], np.full(4, -np.inf))
    assert family.expert.quantile(0.0, eta, extra).item() == low
    assert family.expert.quantile(1.0, eta, extra).item() == high


@every_ordinary
def test_sampler_has_the_distribution_function(family: Family, point: Point) -> None:
    _, eta, extra = arrays(point)
    n = 4000
    columns = np.full((1, n), point[1]), np.repeat(extra[:, :, 0], n, axis=1)
    y = family.expert.sample(*columns, np.random.default_rng(20260101))
    assert y.shape == (1, n)
    family.expert.check(y.T)
    assert stats.kstest(family.expert.cdf(y, eta, extra)[0], "uniform").pvalue > 1e-3
    np.testing.assert_array_equal(y, family.expert.sample(*columns, np.random.default_rng(20260101)))


@pytest.mark.parametrize("free", [-10.0, 0.0, 10.0])
@every_family
def test_samples_of_extreme_predictors_lie_in_the_support(family: Family, free: float) -> None:
    eta = np.array([[-600.0, -40.0, 0.0, 40.0, 600.0]])
    if family.expert.location_scale:
        eta = eta / 10.0
    extra = np.array([np.full(5, np.clip(free, s.low, min(s.high, 20.0))) for s in family.expert.scalars])
    if family.expert.name == "lognormal":
        extra = np.minimum(extra, 2.0)  # beyond exp(700) there are no numbers
    extra = extra.reshape(-1, 5)
    y = family.expert.sample(eta, extra, np.random.default_rng(3))
    family.expert.check(y.T)


# -- far tails --------------------------------------------------------------------------------------------------------


def normal_tail(z: mp.mpf) -> mp.mpf:
    return mp.erfc(z / mp.sqrt(2)) / 2


def gamma_tails(y: mp.mpf, eta: mp.mpf, v: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    a = mp.exp(v)
    x = a * y / mp.exp(eta)
    return mp.gammainc(a, 0, x, regularized=True), mp.gammainc(a, x, regularized=True)


def inverse_gaussian_tails(y: mp.mpf, eta: mp.mpf, v: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    mu, lam = mp.exp(eta), mp.exp(v)
    a, b, factor = mp.sqrt(lam / y) * (y / mu - 1), mp.sqrt(lam / y) * (y / mu + 1), mp.exp(2 * lam / mu)
    return normal_tail(-a) + factor * normal_tail(b), normal_tail(a) - factor * normal_tail(b)


def beta_tails(y: mp.mpf, eta: mp.mpf, v: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    a, b = mp.exp(v) / (1 + mp.exp(-eta)), mp.exp(v) / (1 + mp.exp(eta))
    return mp.betainc(a, b, 0, y, regularized=True), mp.betainc(b, a, 0, 1 - y, regularized=True)


def student_tails(y: mp.mpf, eta: mp.mpf, v: mp.mpf, w: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    z, nu = abs((y - eta) / mp.exp(v)), mp.exp(w)
    a, x = nu / 2, nu / (nu + z * z)
    tail = x**a * mp.hyp2f1(a, mp.mpf(1) / 2, a + 1, x) / (a * mp.beta(a, mp.mpf(1) / 2)) / 2
    return (tail, 1 - tail) if y < eta else (1 - tail, tail)


FAR = [
    (GammaExpert(), gamma_tails, (1e-12, 0.0, 1.5)),
    (GammaExpert(), gamma_tails, (900.0, 1.3, 2.0)),
    (GammaExpert(), gamma_tails, (0.05, 0.0, 5.0)),
    (GammaExpert(), gamma_tails, (1e-3, 0.3, -6.0)),
    (GammaExpert(), gamma_tails, (1.02, 0.0, 6.0)),
    (InverseGaussianExpert(), inverse_gaussian_tails, (1e-4, 0.0, 1.0)),
    (InverseGaussianExpert(), inverse_gaussian_tails, (300.0, 0.3, 3.0)),
    (InverseGaussianExpert(), inverse_gaussian_tails, (1e7, 1.3, -30.0)),
    (InverseGaussianExpert(), inverse_gaussian_tails, (0.5, 1.3, -30.0)),
    (InverseGaussianExpert(), inverse_gaussian_tails, (1.1, 0.0, 9.0)),
    (BetaExpert(), beta_tails, (1e-12, 1.3, 4.0)),
    (BetaExpert(), beta_tails, (1.0 - 2.0**-30, 0.5, 3.0)),
    (BetaExpert(), beta_tails, (0.2, 0.0, 8.0)),
    (BetaExpert(), beta_tails, (0.51, 0.0, 6.0)),
    (StudentTExpert(), student_tails, (60.0, 0.0, 0.0, 13.8)),
    (StudentTExpert(), student_tails, (-1e30, 0.0, 0.0, 3.0)),
    (StudentTExpert(), student_tails, (1e12, 0.0, 0.0, -1.6)),
]


@pytest.mark.parametrize(("expert", "exact", "point"), FAR, ids=[f"{e.name}{p}" for e, _, p in FAR])
def test_tails_against_mpmath(expert, exact, point) -> None:
    with mp.workdps(200):
        lower, upper = (float(mp.log(p)) for p in exact(*(mp.mpf(value) for value in point)))
    # small errors of the logarithm where the probability is small, and of the probability where it is near one
    assert expert.log_cdf(*arrays(point)).item() == pytest.approx(lower, rel=1e-12, abs=1e-14)
    assert expert.log_sf(*arrays(point)).item() == pytest.approx(upper, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("z", [1e-9, 0.02, 0.7, 3.01, 12.0, 45.0])
@pytest.mark.parametrize(
    ("expert", "shape", "mirrored"),
    [
        (LaplaceExpert(), (), ()),
        (LaplaceExpert(smoothing=20.0), (), ()),
        (SkewNormalExpert(), (0.3,), (-0.3,)),
        (SkewNormalExpert(), (-3.0,), (3.0,)),
        (SkewNormalExpert(), (50.0,), (-50.0,)),
    ],
    ids=["laplace", "laplace_smooth", "skew_normal 0.3", "skew_normal -3", "skew_normal 50"],
)
def test_tails_against_quadrature(expert, shape, mirrored, z: float) -> None:
    family = next(f for f in FAMILIES if f.expert == expert)
    with mp.workdps(30):

        def density(y: mp.mpf) -> mp.mpf:
            return mp.exp(family.log_density(y, 0, 0, *shape))

        start = mp.mpf(z)
        step = 1 / max(1, abs(mp.diff(lambda y: mp.log(density(y)), start)))
        cuts = [start + step * k for k in (0, 0.02, 0.1, 0.5, 1, 2, 4, 8, 16, 32, 64)] + [start + 200]
        exact = float(mp.log(mp.quad(density, cuts)))
    assert expert.log_sf(*arrays((z, 0.0, 0.0, *shape))).item() == pytest.approx(exact, rel=1e-12, abs=1e-13)
    # -Z has the shape with the other sign
    assert expert.log_cdf(*arrays((-z, 0.0, 0.0, *mirrored))).item() == pytest.approx(exact, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("s", [1e-2, 1e-3, 1e-6])
def test_large_shapes_are_nearly_normal(s: float) -> None:
    """Gamma laws of large shapes, where SciPy's incomplete gamma function fails in the tail: Cornish and Fisher's expansion."""
    expert, extra, eta = GammaExpert(), np.full((1, 1, 1), -2.0 * np.log(s)), np.zeros((1, 1, 1))
    for q, z in ((1e-12, stats.norm.ppf(1e-12)), (0.2, stats.norm.ppf(0.2)), (0.999, stats.norm.ppf(0.999))):
        approximate = s * z + s**2 * (z * z - 1) / 3 + s**3 * (z**3 - 7 * z) / 36
        assert expert.quantile(q, eta, extra).item() - 1.0 == pytest.approx(approximate, rel=200 * s**3 + 1e-9)


def test_gaussian_tails() -> None:
    y, eta, extra = np.array([[-40.0, 0.5, 39.0]]), np.array([[[0.5]]]), np.log([[[1.5]]])
    lower, upper = gaussian_log_cdf(y, eta, extra)[0], gaussian_log_sf(y, eta, extra)[0]
    for value, low, high in zip(y[0], lower, upper, strict=True):
        with mp.workdps(400):
            z = (mp.mpf(value) - 0.5) / 1.5
            exact = [float(mp.log(normal_tail(-z))), float(mp.log(normal_tail(z)))]
        assert [low, high] == pytest.approx(exact, rel=1e-13)
