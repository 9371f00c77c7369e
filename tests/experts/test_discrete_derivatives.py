"""Log-densities and derivatives of discrete families against their definitions in mpmath, also where float formulas cancel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from moestat.experts.base import Expert
from moestat.experts.binomial import BinomialExpert
from moestat.experts.hurdle import HurdleNegativeBinomialExpert, HurdlePoissonExpert
from moestat.experts.multinomial import MultinomialExpert
from moestat.experts.negative_binomial import NegativeBinomialExpert
from moestat.experts.poisson import PoissonExpert
from moestat.experts.zero_inflated import ZeroInflatedNegativeBinomialExpert, ZeroInflatedPoissonExpert

LogDensity = Callable[[list[int], list[Any]], Any]
DIGITS = 140  # differences with step 1e-30 of logarithms as large as 1e13: 50 digits are left in second derivatives
STEP = mp.mpf(10) ** -30
NOTHING = 1e-60  # what is smaller counts as zero: exponentials of -1e13, and the error of the differences


def poisson(y: list[int], t: list[Any]) -> Any:
    return y[0] * t[0] - mp.exp(t[0]) - mp.loggamma(y[0] + 1)


def negative_binomial(y: list[int], t: list[Any]) -> Any:
    mu, r = mp.exp(t[0]), mp.exp(-t[1])
    coefficient = mp.loggamma(y[0] + r) - mp.loggamma(r) - mp.loggamma(y[0] + 1)
    return coefficient + r * mp.log(r / (r + mu)) + y[0] * mp.log(mu / (r + mu))


def zero_inflated(counts: LogDensity) -> LogDensity:
    def log_density(y: list[int], t: list[Any]) -> Any:
        omega, log_f = 1 / (1 + mp.exp(-t[-1])), counts(y, t[:-1])
        return mp.log(omega + (1 - omega) * mp.exp(log_f)) if y[0] == 0 else mp.log(1 - omega) + log_f

    return log_density


def hurdle(counts: LogDensity) -> LogDensity:
    def log_density(y: list[int], t: list[Any]) -> Any:
        zero = 1 / (1 + mp.exp(-t[-1]))
        if y[0] == 0:
            return mp.log(zero)
        return mp.log(1 - zero) + counts(y, t[:-1]) - mp.log(1 - mp.exp(counts([0], t[:-1])))

    return log_density


def binomial(y: list[int], t: list[Any]) -> Any:
    k, n = (y[0], 1) if len(y) == 1 else y
    return mp.log(mp.binomial(n, k)) + k * t[0] - n * mp.log(1 + mp.exp(t[0]))


def multinomial(y: list[int], t: list[Any]) -> Any:
    eta = [*t, mp.mpf(0)]
    counts = [int(y[0] == s) for s in range(len(eta))] if len(y) == 1 else y
    n = sum(counts)
    total = mp.loggamma(n + 1) - n * mp.log(mp.fsum(mp.exp(e) for e in eta))
    return total + mp.fsum(c * e - mp.loggamma(c + 1) for c, e in zip(counts, eta, strict=True))


ETA = [-30.0, -3.0, -0.4, 1.3, 4.0, 9.0, 30.0]
FEW = [-30.0, -0.4, 4.0, 30.0]
ALPHA = [float(np.log(a)) for a in (1e-12, 1e-4, 0.4, 2.0, 400.0, 1e8)]
LOGIT = [-29.0, -1.0, 2.0, 29.5]
CASES: dict[str, tuple[Expert, LogDensity, list[list[int]], list[tuple[float, ...]]]] = {
    "poisson": (PoissonExpert(), poisson, [[0], [1], [7], [8000], [10**9]], [*product(ETA)]),
    "negative_binomial": (
        NegativeBinomialExpert(),
        negative_binomial,
        [[0], [1], [2], [60], [8000]],
        [*product(ETA, ALPHA)],
    ),
    "zero_inflated_poisson": (ZeroInflatedPoissonExpert(), zero_inflated(poisson), [[0], [3]], [*product(ETA, LOGIT)]),
    "zero_inflated_negative_binomial": (
        ZeroInflatedNegativeBinomialExpert(),
        zero_inflated(negative_binomial),
        [[0], [3]],
        [*product(FEW, ALPHA, LOGIT[:3])],
    ),
    "hurdle_poisson": (HurdlePoissonExpert(), hurdle(poisson), [[0], [1], [2], [60]], [*product(ETA, LOGIT)]),
    "hurdle_negative_binomial": (
        HurdleNegativeBinomialExpert(),
        hurdle(negative_binomial),
        [[0], [1], [2], [60]],
        [*product([-30.0, -0.4, 0.3, 4.0], ALPHA, [0.5])],
    ),
    "binomial": (
        BinomialExpert(),
        binomial,
        [[0], [1], [0, 0], [3, 3], [2, 7], [300000, 1000000]],
        [*product([*ETA, 300.0])],
    ),
    "codes": (MultinomialExpert(), multinomial, [[0], [1], [3]], [*product(FEW, [-2.0, 29.0], [0.1, -29.5])]),
    "class_counts": (
        MultinomialExpert(),
        multinomial,
        [[2, 0, 5], [0, 0, 0], [10, 20000, 7]],
        [*product(FEW, [-2.0, 29.0])],
    ),
}


def reference(log_density: LogDensity, y: list[int], point: tuple[float, ...]) -> list[Any]:
    """Value, first and second derivatives in the order of `Expert.derivatives`, by central differences."""
    start, m = [mp.mpf(v) for v in point], len(point)

    def at(*moves: tuple[int, int]) -> Any:
        moved = list(start)
        for index, sign in moves:
            moved[index] += sign * STEP
        return log_density(y, moved)

    value, up, down = at(), [at((i, 1)) for i in range(m)], [at((i, -1)) for i in range(m)]
    out = [value, *((a - b) / (2 * STEP) for a, b in zip(up, down, strict=True))]
    for i, j in zip(*np.tril_indices(m), strict=True):
        if i == j:
            out.append((up[i] - 2 * value + down[i]) / STEP**2)
        else:
            both = at((i, 1), (j, 1)) + at((i, -1), (j, -1))
            out.append((both - up[i] - down[i] - up[j] - down[j] + 2 * value) / (2 * STEP**2))
    return out


@pytest.mark.parametrize("case", CASES)
def test_log_density_and_derivatives_to_ten_digits(case: str) -> None:
    expert, log_density, responses, points = CASES[case]
    n_scalars = len(expert.scalars)
    with mp.workdps(DIGITS):
        for point, y in product(points, responses):
            d = len(point) - n_scalars
            eta, extra = np.reshape(point[:d], (d, 1, 1)), np.reshape(point[d:], (n_scalars, 1, 1))
            column = np.array(y, dtype=float)[:, None]
            got = [
                expert.log_density(column, eta, extra),
                *(v for part in expert.derivatives(column, eta, extra) for v in part),
            ]
            wanted = reference(log_density, y, point)
            assert len(got) == len(wanted)
            for position, (value, exact) in enumerate(zip(got, wanted, strict=True)):
                error = abs(mp.mpf(float(value.item())) - exact)
                assert error <= 1e-10 * abs(exact) + NOTHING, (point, y, position, float(value.item()), float(exact))


@pytest.mark.parametrize("y", [0.0, 1.0, 5.0, 1e9])
@pytest.mark.parametrize("expert", [case[0] for case in list(CASES.values())[:7]], ids=list(CASES)[:7])
def test_numbers_stay_numbers_for_any_predictor(expert: Expert, y: float) -> None:
    eta = np.array([[[-5000.0, -800.0, -300.0, 250.0, 800.0, 5000.0]]])
    y = min(y, 1.0) if expert.name == "binomial" else y
    column = np.full((1, eta.shape[2]), y)
    for values in product(*((s.low, 0.0, s.high) for s in expert.scalars)):
        extra = np.reshape(values, (len(values), 1, 1))
        first, second = expert.derivatives(column, eta, extra)
        log_density = expert.log_density(column, eta, extra)
        assert np.isfinite(first).all()
        assert np.isfinite(first[:, None] * first).all()  # what Louis' identity squares
        assert np.isfinite(second).all()
        assert (log_density <= 1e-12).all()
        assert ((expert.cdf(column, eta, extra) >= 0.0) & (expert.cdf(column, eta, extra) <= 1.0)).all()
        assert all((moment >= 0.0).all() for moment in expert.moments(eta, extra))


@pytest.mark.parametrize("y", [0.0, 1.0, 4.0, 3000.0])
def test_negative_binomial_tends_to_poisson(y: float) -> None:
    """The difference is `α ((y - μ)² - y) / 2 + O(α²)`: nothing is lost on the way."""
    eta, column, alpha = np.full((1, 1, 1), 0.7), np.array([[y]]), 1e-11
    extra = np.full((1, 1, 1), np.log(alpha))
    mu = np.exp(0.7)
    gap = 0.5 * alpha * ((y - mu) ** 2 - y)
    poisson_value = PoissonExpert().log_density(column, eta, np.empty((0, 1, 1))).item()
    assert NegativeBinomialExpert().log_density(column, eta, extra).item() == pytest.approx(
        poisson_value + gap, rel=1e-14
    )
    slope = NegativeBinomialExpert().derivatives(column, eta, extra)[0][1].item()
    assert slope == pytest.approx(gap, rel=max(1e-9, y * alpha))
