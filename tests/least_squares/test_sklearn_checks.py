"""All of scikit-learn's estimator checks for the least-squares estimators; two starts, since the checks fit noise over and over."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import moestat as ms

# The checks fit two experts to a few rows of noise, in as many columns. What these warn of is to be expected there: such rows are
# interpolated, often in the limit of infinite coefficients only.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::moestat.exceptions.{name}")
    for name in ("ConvergenceWarning", "DegeneracyWarning", "SeparationWarning", "CollinearityWarning")
]

FEW = {"n_init": 2, "max_iter": 40, "random_state": 0}
ESTIMATORS = [ms.MoERegressor(objective="least_squares", **FEW), ms.SigmoidMoERegressor(**FEW)]


@parametrize_with_checks(ESTIMATORS)
def test_estimator_check(estimator: Any, check: Any) -> None:
    check(estimator)
