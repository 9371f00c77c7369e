"""A budget gate is calibrated once, by the fit of its dense counterpart, and is then a gate of each x alone."""

from __future__ import annotations

import numpy as np

import moestat as ms
from moestat.gates import BudgetGate


def test_fit_sets_the_threshold_once() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (400, 1))
    y = (
        np.where(X[:, 0] > 0, 2 * X[:, 0], -X[:, 0])
        + np.where(rng.random(400) < 0.3, 1.5, 0.0)
        + 0.2 * rng.standard_normal(400)
    )
    est = ms.MoERegressor(3, gate=BudgetGate(avg_active=1.6), n_init=3, random_state=0).fit(X, y)
    gate = est.model_.gate
    assert gate.threshold is not None
    assert not gate.open_threshold
    proba = est.gate_proba(X)
    assert 1.2 < (proba > 0).sum(axis=1).mean() < 2.0  # the scores have moved since the calibration
    np.testing.assert_array_equal(est.gate_proba(X[:7]), proba[:7])
    np.testing.assert_array_equal(est.gate_proba(X[::-1]), proba[::-1])
    assert est.gate == BudgetGate(avg_active=1.6)  # the parameter of the estimator is not touched
