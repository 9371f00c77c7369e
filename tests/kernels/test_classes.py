"""Probabilities of classes and their derivatives: compiled kernels against their twins and mpmath."""

from __future__ import annotations

from types import ModuleType

import mpmath
import numpy as np
import pytest

from moestat.kernels import plain


@pytest.mark.parametrize("size", [1.0, 40.0, 2000.0])
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_log_probabilities_keep_the_digits_of_small_remainders(n_classes: int, size: float, fast: ModuleType) -> None:
    eta = size * np.random.default_rng(n_classes).normal(size=(n_classes - 1, 60))
    eta[:, 0], eta[0, 1] = 0.0, 0.0  # ties
    out = np.empty((n_classes, 60))
    fast.class_log_rows(eta, out)
    with mpmath.workdps(1000):
        for i in range(60):
            z = [mpmath.mpf(float(v)) for v in eta[:, i]] + [mpmath.mpf(0)]
            total = mpmath.log(mpmath.fsum(mpmath.exp(v) for v in z))
            for s in range(n_classes):
                exact = z[s] - total
                # differences of log odds are rounded: a relative error of their exponentials
                allowed = (
                    2.3e-16 * (4.0 + 2.0 * np.ptp(np.append(eta[:, i], 0.0))) * abs(exact) + 1e-306
                )  # six underflows
                assert abs(mpmath.mpf(float(out[s, i])) - exact) <= allowed


@pytest.mark.parametrize("rows", [1, 40, 513, 1500])
def test_twins(rows: int, fast: ModuleType) -> None:
    rng = np.random.default_rng(rows)
    eta = rng.normal(size=(3, 2 * rows)) * 10.0
    found = {}
    for kernels in (fast, plain):
        log_p, p = np.empty((4, 2 * rows)), np.empty((4, 2 * rows))
        kernels.class_log_rows(eta, log_p)
        kernels.class_rows(eta, p)
        counts = np.random.default_rng(1).integers(0, 5, (4, rows)).astype(float)
        slope, bend = np.empty((3, 2, rows)), np.empty((6, 2, rows))
        kernels.multinomial_derivatives(p.reshape(4, 2, rows), counts, slope, bend)
        found[kernels] = log_p, p, slope, bend
    for mine, twin in zip(found[fast], found[plain], strict=True):
        np.testing.assert_allclose(mine, twin, rtol=1e-13, atol=1e-14)
    log_p, p, _, _ = found[fast]
    np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-14)
    np.testing.assert_allclose(p.sum(axis=0), 1.0, rtol=1e-15)
