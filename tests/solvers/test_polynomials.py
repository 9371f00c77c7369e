"""Digits of polynomial fits in raw coordinates, against least squares in extended precision; large offsets and odd units."""

from __future__ import annotations

import numpy as np
import pytest

from moestat.experts import GaussianExpert
from moestat.fitting import FittedMixture, fit_mixture
from moestat.maps.polynomial import exponents
from moestat.mixture import ConditionalMixture

Long = np.longdouble
DIGITS = 1e-8

# Extended precision is what makes this a reference; where a long double is a double there is none.
pytestmark = pytest.mark.skipif(np.finfo(Long).eps > 1e-18, reason="long double is no wider than double here")


def monomials(X: np.ndarray, degree: int) -> np.ndarray:
    """Raw monomials `(q, n)` in extended precision, graded lexicographic."""
    Z = X.T.astype(Long)
    return np.stack(
        [np.prod([z**p for z, p in zip(Z, power, strict=True)], axis=0) for power in exponents(X.shape[1], degree)]
    )


def least_squares(features: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Weighted least squares `(q,)` by Gram–Schmidt, twice, in extended precision."""
    q = len(features)
    root = np.ones(features.shape[1], Long) if weight is None else np.sqrt(weight.astype(Long))
    basis = features * root
    target = y.astype(Long) * root
    upper = np.eye(q, dtype=Long)
    for _ in range(2):
        turn = np.zeros((q, q), Long)
        for j in range(q):
            turn[j, j] = np.sqrt(np.sum(basis[j] ** 2))
            basis[j] = basis[j] / turn[j, j]
            for i in range(j + 1, q):
                turn[j, i] = np.sum(basis[j] * basis[i])
                basis[i] = basis[i] - turn[j, i] * basis[j]
        upper = turn @ upper
    right = np.array([np.sum(b * target) for b in basis])
    coef = np.zeros(q, Long)
    for j in reversed(range(q)):
        coef[j] = (right[j] - upper[j, j + 1 :] @ coef[j + 1 :]) / upper[j, j]
    return coef


def raw_coefficients(mixture: ConditionalMixture) -> np.ndarray:
    return np.column_stack([mixture.params["expert_intercept"], mixture.params["expert_coef"]])


def own_least_squares(fitted: FittedMixture, X: np.ndarray, y: np.ndarray, degree: int) -> np.ndarray:
    """Coefficients `(K, q)` that the M-step gives at the fitted responsibilities, in extended precision.

    At the maximiser they are the fitted ones: the EM map has it as its fixed point.
    """
    resp = fitted.mixture.responsibilities(X, y)
    features = monomials(X, degree)
    return np.array([least_squares(features, y, r) for r in resp.T])


def test_the_reference_is_exact_where_the_answer_is_known() -> None:
    X = np.random.default_rng(0).uniform(-1.0, 2.0, (500, 2))
    features = monomials(X, 5)
    coef = np.arange(1.0, len(features) + 1.0).astype(Long)
    np.testing.assert_allclose((least_squares(features, coef @ features) / coef).astype(float), 1.0, rtol=1e-13)


def test_degree_six_in_two_dimensions_keeps_eight_digits() -> None:
    rng = np.random.default_rng(1)
    n, degree = 100_000, 6
    X = np.column_stack([rng.uniform(-1.0, 1.0, n), rng.uniform(0.0, 2.0, n)])
    truth = rng.choice([-1.0, 1.0], 28) * rng.uniform(0.5, 1.5, 28)
    y = (truth @ monomials(X, degree)).astype(float) + 0.1 * rng.normal(size=n)
    fitted = fit_mixture(X, y, 1, expert=GaussianExpert(degree=degree))
    exact = least_squares(monomials(X, degree), y).astype(float)
    np.testing.assert_allclose(raw_coefficients(fitted.mixture)[0], exact, rtol=DIGITS)
    np.testing.assert_allclose(exact, truth, atol=0.5)
    residual = y - (exact.astype(Long) @ monomials(X, degree)).astype(float)
    assert fitted.mixture.params["expert_scale"][0] == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-10)
    assert fitted.result.converged


def test_degree_six_with_two_experts_keeps_eight_digits() -> None:
    rng = np.random.default_rng(2)
    n, degree = 100_000, 6
    X = np.column_stack([rng.uniform(-1.0, 1.0, n), rng.uniform(0.0, 2.0, n)])
    features = monomials(X, degree).astype(float)
    truth = rng.choice([-1.0, 1.0], (2, 28)) * rng.uniform(0.5, 1.5, (2, 28))
    truth[1, 0] += 10.0
    labels = (X[:, 0] + rng.logistic(size=n) > 0.0).astype(int)
    y = np.einsum("nq,qn->n", truth[labels], features) + 0.05 * rng.normal(size=n)
    start = {
        "gate_coef": [[-1.0, 0.0], [0.0, 0.0]],
        "gate_intercept": [0.0, 0.0],
        "expert_coef": truth[:, 1:],
        "expert_intercept": truth[:, 0],
        "expert_scale": [0.1, 0.1],
    }
    fitted = fit_mixture(X, y, 2, expert=GaussianExpert(degree=degree), init=start, tol=1e-16)
    exact = own_least_squares(fitted, X, y, degree).astype(float)
    np.testing.assert_allclose(raw_coefficients(fitted.mixture), exact, rtol=DIGITS)
    order = np.argsort(fitted.mixture.params["expert_intercept"])
    np.testing.assert_allclose(raw_coefficients(fitted.mixture)[order], truth[np.argsort(truth[:, 0])], atol=0.5)
    assert fitted.result.converged


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_calendar_years_keep_eight_digits(degree: int) -> None:
    rng = np.random.default_rng(3)
    year = np.arange(1880.0, 2001.0)[:, None]
    t = (year[:, 0] - 1940.0) / 60.0
    y = 10.0 + 3.0 * t - 2.0 * t**2 + t**3 + 0.2 * rng.normal(size=121)
    fitted = fit_mixture(year, y, 1, expert=GaussianExpert(degree=degree))
    exact = least_squares(monomials(year, degree), y)
    mean = (exact @ monomials(year, degree)).astype(float)
    np.testing.assert_allclose(fitted.mixture.mean(year), mean, rtol=1e-10)
    np.testing.assert_allclose(raw_coefficients(fitted.mixture)[0], exact.astype(float), rtol=DIGITS)


@pytest.mark.parametrize(
    ("x_scale", "x_shift", "y_scale"), [(1e6, 0.0, 1e-6), (1.0, 1940.0, 1.0), (1e-8, 5.0, 1e8), (60.0, 1e6, 1e3)]
)
def test_offsets_and_units_do_not_change_a_two_expert_fit(x_scale: float, x_shift: float, y_scale: float) -> None:
    rng = np.random.default_rng(4)
    n = 400
    x = rng.uniform(-1.0, 1.0, n)
    first = 2.0 * x + rng.logistic(size=n) > 0.0
    y = np.where(first, 3.0 + x, -3.0 - x**2) + 0.5 * rng.normal(size=n)
    settings = {"expert": GaussianExpert(degree=2), "rng": 0, "tol": 1e-12}
    plain = fit_mixture(x[:, None], y, **settings)
    X = (x_scale * x + x_shift)[:, None]
    moved = fit_mixture(X, y_scale * y, **settings)
    # the features themselves are rounded when the offset is added
    lost = np.finfo(float).eps * (1.0 + abs(x_shift) / x_scale)
    assert moved.result.loglik + n * np.log(y_scale) == pytest.approx(plain.result.loglik, abs=1e-8 + 1e4 * lost)
    expected = plain.mixture.mean(x[:, None])
    np.testing.assert_allclose(moved.mixture.mean(X) / y_scale, expected, rtol=0, atol=1e-6 + 1e4 * lost)
    assert moved.result.converged
