"""Log-densities and derivatives of the continuous families against mpmath, at ordinary and at extreme predictors."""

from __future__ import annotations

from itertools import combinations_with_replacement

import mpmath as mp
import numpy as np
import pytest
from scipy import integrate

from moestat.experts import special

from .continuous_families import FAMILIES, Family, Point, arrays, every_family

CASES = [(family, point) for family in FAMILIES for point in family.ordinary + family.extreme]
every_case = pytest.mark.parametrize(("family", "point"), CASES, ids=[f"{f.name}{p}" for f, p in CASES])


def exact_derivatives(family: Family, point: Point) -> tuple[list[mp.mpf], list[mp.mpf]]:
    """First and second derivatives by central differences, whose error is about 1e-40 of the fourth derivatives."""
    at, h = [mp.mpf(value) for value in point], mp.mpf(10) ** -20
    m = len(point) - 1

    def value(*moves: tuple[int, int]) -> mp.mpf:
        moved = list(at)
        for i, steps in moves:
            moved[1 + i] += steps * h
        return family.log_density(*moved)

    first = [(value((i, 1)) - value((i, -1))) / (2 * h) for i in range(m)]
    second = []
    for j, i in sorted(combinations_with_replacement(range(m), 2), key=lambda pair: (pair[1], pair[0])):
        total = sum(a * b * value((i, a), (j, b)) for a in (1, -1) for b in (1, -1))
        second.append(total / (4 * h * h))
    return first, second


@every_case
def test_log_density(family: Family, point: Point) -> None:
    with mp.workdps(50):
        exact = float(family.log_density(*(mp.mpf(value) for value in point)))
    # an error of 1e-16 in log y or logit y counts as often as there are nats
    assert family.expert.log_density(*arrays(point)).item() == pytest.approx(exact, rel=1e-12, abs=1e-13)


@every_case
def test_derivatives(family: Family, point: Point) -> None:
    first, second = family.expert.derivatives(*arrays(point))
    m = len(point) - 1
    assert first.shape == (m, 1, 1)
    assert second.shape == (m * (m + 1) // 2, 1, 1)
    with mp.workdps(120):
        exact = exact_derivatives(family, point)
        for ours, theirs in zip((first, second), exact, strict=True):
            np.testing.assert_allclose(ours.ravel(), np.array(theirs, dtype=float), rtol=1e-10, atol=family.noise)


@every_family
def test_rows_and_experts_are_independent(family: Family) -> None:
    points = np.array(family.ordinary[:2])
    y, eta, extra = points[:, 0][None], points[:, 1][None, :, None] + np.zeros((1, 2, 2)), points[:, 2:].T[:, :, None]
    value, (first, second) = family.expert.log_density(y, eta, extra), family.expert.derivatives(y, eta, extra)
    for k in range(2):
        for b in range(2):
            one = arrays((y[0, b], *points[k, 1:]))
            np.testing.assert_allclose(value[k, b], family.expert.log_density(*one).item(), rtol=1e-14)
            for ours, theirs in zip((first, second), family.expert.derivatives(*one), strict=True):
                np.testing.assert_allclose(ours[:, k, b], theirs[:, 0, 0], rtol=1e-13, atol=1e-15)


@every_family
def test_remote_rows_are_finite(family: Family) -> None:
    """However wrong a predictor, the log-density is a number or -inf, and products of derivatives are finite."""
    low, high = family.expert.ends
    y = np.array([[max(low + 1e-300, -1e100), 0.3, 0.5, min(high - 1e-16, 1e100)]])
    eta = np.broadcast_to(np.array([-1e3, -30.0, 0.0, 40.0, 1e3])[:, None], (1, 5, 4))
    for free in (-10.0, 0.0, 10.0):
        extra = np.full((len(family.expert.scalars), 5, 1), free)
        value = family.expert.log_density(y, eta, extra)
        assert not np.isnan(value).any()
        assert (value < np.inf).all()
        first, second = family.expert.derivatives(y, eta, extra)
        assert np.isfinite(first[:, None] * first).all()
        assert np.isfinite(second).all()


@pytest.mark.parametrize("delta", [1e-6, 1e-3, 0.05])
def test_smoothed_laplace_differs_by_less_than_its_smoothing(delta: float) -> None:
    from moestat.experts.laplace import LaplaceExpert

    z = np.concatenate([[0.0], np.logspace(-9, 3, 200)])[None]
    gap = LaplaceExpert(smoothing=delta).log_density(z, np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))[0] + z[0] + np.log(2)
    assert np.abs(gap).max() < delta
    assert np.abs(gap[z[0] > 1.0]).max() < delta**2 * np.log(4.0 / delta)


# -- functions of one variable ----------------------------------------------------------------------------------------

SIGNED = np.concatenate([-np.logspace(-9, 1.5, 20), np.logspace(-9, 1.5, 20)])


def log_a_terms(t: mp.mpf) -> tuple[mp.mpf, ...]:
    a = mp.exp(t)
    slope = a * (t - mp.digamma(a))
    return a * t - a - mp.loggamma(a), slope, slope + a - a * a * mp.polygamma(1, a)


def half_terms(x: mp.mpf) -> tuple[mp.mpf, ...]:
    half = mp.mpf(1) / 2
    slope = x * (mp.digamma(x + half) - mp.digamma(x))
    curve = slope + x * x * (mp.polygamma(1, x + half) - mp.polygamma(1, x))
    return mp.loggamma(x + half) - mp.loggamma(x) - mp.log(x) / 2, slope - half, curve


def mills_terms(t: mp.mpf) -> tuple[mp.mpf, ...]:
    m = mp.npdf(t) / (mp.erfc(-t / mp.sqrt(2)) / 2)
    return m, t + m


@pytest.mark.parametrize(
    ("ours", "exact", "points"),
    [
        (special.expm1_excess, lambda x: (mp.exp(x) - 1 - x,), SIGNED),
        (special.log1p_excess, lambda x: (x - mp.log1p(x),), SIGNED[SIGNED > -1.0]),
        (special.stirling, log_a_terms, np.linspace(-40.0, 40.0, 41)),
        (special.half_step, half_terms, np.logspace(-3, 10, 40)),
        (special.mills, mills_terms, np.concatenate([np.linspace(-12.0, 12.0, 25), [-1e5, -1e3, -40.0, 30.0]])),
    ],
    ids=["expm1_excess", "log1p_excess", "stirling", "half_step", "mills"],
)
def test_functions_of_one_variable(ours, exact, points) -> None:
    values = ours(points)
    values = np.array(values if isinstance(values, tuple) else (values,))
    with mp.workdps(100):
        expected = np.array([[float(v) for v in exact(mp.mpf(x))] for x in points]).T
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_integral_of_a_decaying_density() -> None:
    rate, curve = np.array([0.0, 0.3, 5.0, 400.0]), np.array([2.0, 1.0, 1.0, 0.0])
    ours = special.log_decay(lambda s: -rate * s - 0.5 * curve * s * s, rate, curve)
    for value, r, c in zip(ours, rate, curve, strict=True):
        exact = integrate.quad(lambda s, r=r, c=c: np.exp(-r * s - 0.5 * c * s * s), 0.0, 50.0 / max(r, 1.0))[0]
        assert np.exp(value) == pytest.approx(exact, rel=1e-10)
