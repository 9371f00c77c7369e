"""tanh and its derivative, compiled and not, against mpmath; derivatives of Student's t against their twin."""

from __future__ import annotations

from types import ModuleType

import mpmath
import numpy as np
import pytest

from moestat.kernels import functions, plain

ULP = np.finfo(np.float64).eps


@pytest.mark.parametrize("compiled", [True, False])
def test_value_and_slope_are_accurate_to_three_ulp(
    compiled: bool, fast: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(functions, "SMALL", 10**9)
    rng = np.random.default_rng(0)
    sizes = [1e-300, 1e-12, 1e-6, 1e-2, 1.0, 5.0, 60.0]
    x = np.concatenate([size * rng.normal(size=200) for size in sizes] + [np.array([0.0, 18.0, -18.0, 345.0])])
    value, slope = functions.tanh(x)
    with mpmath.workdps(50):
        exact = [(mpmath.tanh(mpmath.mpf(float(u))), mpmath.sech(mpmath.mpf(float(u))) ** 2) for u in x]
        for found, (v, _) in zip(value, exact, strict=True):
            assert abs(mpmath.mpf(float(found)) - v) <= 3 * ULP * abs(v)
        for found, (_, s) in zip(slope, exact, strict=True):
            assert abs(mpmath.mpf(float(found)) - s) <= 3 * ULP * s


def test_at_the_ends_and_where_there_is_no_number(fast: ModuleType) -> None:
    x = np.tile([np.inf, -np.inf, 1e300, -0.0, np.nan, 1e-320], 100)
    value, slope = functions.tanh(x)
    np.testing.assert_array_equal(value[:6], [1.0, -1.0, 1.0, -0.0, np.nan, 1e-320])
    assert np.signbit(value[3])
    assert (slope[:3] < 1e-300).all()
    np.testing.assert_array_equal(slope[3:6], [1.0, np.nan, 1.0])


@pytest.mark.parametrize("nu", [0.2, 3.0, 1e6])
def test_student_t_equals_its_twin(nu: float, fast: ModuleType) -> None:
    rng = np.random.default_rng(1)
    z = np.concatenate([size * rng.normal(size=(2, 150)) for size in (1e-9, 1.0, 30.0, 1e70)], axis=1)
    found = []
    for kernels in (fast, plain):
        out = np.empty((7, *z.shape))
        kernels.student_t_rows(z, np.array([nu, 2.0 * nu]), out)
        found.append(out)
    size = np.abs(found[1]) + 1e-3
    assert (np.abs(found[0] - found[1]) <= 1e-12 * size).all()
