"""All of scikit-learn's estimator checks, none expected to fail; also with array-API dispatch possible, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import moestat as ms

# The checks fit two experts to a few rows of noise, in as many columns: what these warn of is to be expected there.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::moestat.exceptions.{name}")
    for name in ("DegeneracyWarning", "SeparationWarning", "CollinearityWarning")
]

ESTIMATORS = [
    ms.MoERegressor(),
    ms.GaussianMoERegressor(),
    ms.PolynomialMoERegressor(),
    ms.MoEClassifier(n_init=3),
    ms.MultinomialMoEClassifier(n_init=2),
    ms.MoERegressor(gate="normalized_sigmoid", n_init=2),
]


@parametrize_with_checks(ESTIMATORS)
def test_estimator_check(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.skipif("SCIPY_ARRAY_API" in os.environ, reason="this is the process with the variable set")
def test_estimator_checks_with_scipys_array_api() -> None:
    # SciPy reads the variable when it is imported, and scikit-learn skips its array-API checks without it.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", __file__],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
