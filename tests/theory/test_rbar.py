"""The order r̄(m): stated, measured, and its two halves."""

import numpy as np
import pytest

from moestat.losses import measure_rbar, rbar, rbar_residual


def test_stated_values():
    assert [rbar(m) for m in range(1, 8)] == [1, 4, 6, 8, 10, 12, 14]
    with pytest.raises(ValueError, match="m = 0"):
        rbar(0)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_measured_order_is_2m(m):
    assert measure_rbar(m, n_starts=8) == rbar(m)


@pytest.mark.parametrize("m", range(2, 8))
def test_gauss_hermite_nodes_solve_the_orders_below_2m(m):
    """Σ w exp(s z - z²/2) = 1 + O(z^{2m}), in Hermite polynomials."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(m)
    weights = weights / weights.sum()
    for order in range(1, 2 * m + 1):
        hermite = np.polynomial.hermite_e.hermeval(nodes, np.eye(order + 1)[order])
        moment = abs(weights @ hermite) / np.prod(np.arange(1.0, order + 1))
        assert moment < 1e-14 if order < 2 * m else moment > 1e-8


def test_residuals_on_both_sides_of_the_order():
    assert rbar_residual(2, 3) < 1e-14
    assert 0.05 < rbar_residual(2, 4, n_starts=10) < 0.1
    with pytest.raises(ValueError, match="m = 1"):
        rbar_residual(1, 2)
