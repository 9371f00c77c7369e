"""Log-densities of normal mixtures at many points: both kernels against mpmath, far components, and densities of zero."""

from __future__ import annotations

from types import ModuleType

import mpmath
import numpy as np
import pytest

from moestat.kernels import functions, plain

EPS = np.finfo(np.float64).eps


@pytest.fixture(params=["fast", "plain"])
def kernel(request: pytest.FixtureRequest, fast: ModuleType) -> ModuleType:
    """The compiled kernel and its twin."""
    return fast if request.param == "fast" else plain


@pytest.mark.parametrize(("spread", "reach"), [(1.0, 1.0), (60.0, 10.0), (600.0, 1e3)])
@pytest.mark.parametrize("k", [1, 2, 30])
def test_against_mpmath(kernel: ModuleType, k: int, spread: float, reach: float) -> None:
    rng = np.random.default_rng(k)
    level, mean, precision = rng.normal(size=(2, k)) * spread, rng.normal(size=(2, k)), np.exp(rng.normal(size=(2, k)))
    y = rng.normal(size=(2, 25)) * reach
    out = np.empty_like(y)
    kernel.mixture_log_density(level, mean, precision, y, out)
    with mpmath.workdps(60):
        for row in range(2):
            for i, response in enumerate(y[row]):
                terms = [
                    mpmath.mpf(a) - (mpmath.mpf(p) * (mpmath.mpf(response) - mpmath.mpf(m))) ** 2 / 2
                    for a, m, p in zip(level[row], mean[row], precision[row], strict=True)
                ]
                exact = float(mpmath.log(mpmath.fsum(mpmath.exp(term) for term in terms)))
                # roundings of the level and of the square of the component that is the largest
                size = max(terms)
                best = terms.index(size)
                rounding = 8.0 * EPS * (1.0 + 2.0 * abs(level[row, best]) + abs(exact))
                assert abs(out[row, i] - exact) <= rounding


def test_impossible_components_and_responses_beyond_all_numbers(kernel: ModuleType) -> None:
    level = np.array([[0.0, -np.inf], [-np.inf, -np.inf], [0.0, -2000.0], [0.0, 0.0]])
    y = np.array([[0.5], [0.0], [100.0], [1e200]])
    mean, precision = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 100.0], [0.0, 1.0]]), np.ones((4, 2))
    out = np.full_like(y, np.nan)
    with np.errstate(over="ignore"):
        kernel.mixture_log_density(level, mean, precision, y, out)
    np.testing.assert_array_equal(out, [[-0.125], [-np.inf], [-2000.0], [-np.inf]])


def test_a_component_that_leads_at_one_response_only_counts(fast: ModuleType) -> None:
    level, mean, precision = np.array([[0.0, -300.0]]), np.array([[0.0, 30.0]]), np.ones((1, 2))
    y = np.linspace(-5.0, 30.0, 71)[None]
    out = functions.mixture_log_density(level, mean, precision, y)
    exact = np.logaddexp.reduce(level.T - 0.5 * (y - mean.T) ** 2)
    np.testing.assert_allclose(out[0], exact, rtol=1e-14)
    assert out[0, -1] > -301.0
