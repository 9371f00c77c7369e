"""The M-step of every model against a generic maximiser, and its statistics as sums over rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from moestat import blocks
from moestat.objective import Objective

from . import models
from .models import Model, every_model


def weights(n: int) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 4, n).astype(float)


def results(at: Objective, theta: np.ndarray) -> dict[str, np.ndarray]:
    """All sums over rows."""
    value, gradient, hessian = at.derivatives(theta)
    done = at.em_pass(theta)
    sums = {f"statistics {name}": np.asarray(total) for name, total in done.statistics.items() if name != "value"}
    own = {
        "value": value,
        "em value": done.value,
        "gradient": gradient,
        "hessian": hessian,
        "short gradient": at.gradient(theta)[1],
    }
    masses = dict(zip(("gate mass", "resp mass"), at.masses(theta), strict=True))
    return {name: np.asarray(total) for name, total in (sums | own | masses).items()}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray], tolerance: float = 1e-11) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        scale = np.abs(right[name]).max(initial=1.0)
        np.testing.assert_allclose(value, right[name], rtol=tolerance, atol=tolerance * scale, err_msg=name)


@every_model
def test_m_step_is_the_generic_maximiser(model: Model) -> None:
    n = 100
    X, y = models.data(model, n)
    m = models.mixture(model, seed=3)
    weight = weights(n)
    at, theta = m.objective(X, y, weight)
    resp = m.responsibilities(X, y)
    share = weight[:, None] * resp

    def negative(t: np.ndarray) -> Any:
        return -np.sum(share * models.joint(m, t, X, y))

    step = theta
    fixed = np.ascontiguousarray(resp.T)
    for _ in range(
        40 if model.gate.degree else 1
    ):  # the gate takes safeguarded Newton steps, the experts are exact at once
        done = at.em_pass(step, fixed)
        tried = [at.maximise(step, done, length) for length in ((1.0, 0.25, 0.0) if model.gate.degree else (0.0,))]
        assert negative(tried[-1]) <= negative(step) + 1e-10 * abs(negative(step))  # the bound's step never fails
        step = min(tried, key=negative)
    slope = models.complex_step(negative, step)
    assert np.abs(slope).max(initial=0.0) <= 1e-8 * n
    rng = np.random.default_rng(0)
    away = [step + size * rng.normal(size=len(step)) for size in (1e-3, 0.1, 1.0)]
    assert all(negative(other) > negative(step) for other in away if len(step))
    if len(theta) > 20:  # differences would take long
        return
    jacobian = lambda t: models.complex_step(negative, t)  # noqa: E731
    start = step + 0.3 * np.cos(np.arange(len(theta)))
    limits = {"ftol": 1e-15, "gtol": 1e-8, "maxiter": 2000, "maxcor": 50}
    found = optimize.minimize(negative, start, jac=jacobian, method="L-BFGS-B", options=limits)
    assert negative(step) <= found.fun + 1e-10 * abs(found.fun)


@every_model
def test_one_bound_step_never_lowers_the_loglik(model: Model) -> None:
    X, y = models.data(model, 150)
    at, theta = models.mixture(model).objective(X, y, weights(150))
    theta = theta + 0.2 * np.cos(np.arange(len(theta)))
    for _ in range(5):
        here = at.em_pass(theta)
        theta = at.maximise(theta, here, 0.0)
        assert at.value(theta) >= here.value - 1e-10 * abs(here.value)


@every_model
def test_statistics_are_additive_over_rows(model: Model) -> None:
    n, cut = 150, 67
    X, y = models.data(model, n)
    m, weight = models.mixture(model, seed=3), weights(n)
    whole = results(*m.objective(X, y, weight))
    parts = [results(*m.objective(X[s], y[s], weight[s])) for s in (slice(None, cut), slice(cut, None))]
    same({name: parts[0][name] + parts[1][name] for name in parts[0]}, whole)


@every_model
def test_blocks_threads_and_rebuilt_features_do_not_matter(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 2300
    X, y = models.data(model, n)
    m, weight = models.mixture(model, seed=3), weights(n)
    at, theta = m.objective(X, y, weight)
    at.size = n
    whole = results(at, theta)
    blocked = {}
    for n_jobs in (1, 2):
        rows = blocks.Rows.build(X, y.reshape(n, -1), weight, (m.gate_map, m.expert_map))
        cut = Objective(rows, at.layout, floor=at.floor)
        cut.size = 512
        if n_jobs > 1:
            cut.pool = ThreadPoolExecutor(n_jobs)
        blocked[n_jobs] = results(cut, theta)
    same(blocked[1], whole)
    for name, value in blocked[1].items():
        np.testing.assert_array_equal(value, blocked[2][name], err_msg=name)
    monkeypatch.setattr(blocks, "STORED_BYTES", 0)
    lazy, _ = m.objective(X, y, weight)
    assert lazy.rows.stored is None
    lazy.size = 512
    same(results(lazy, theta), blocked[1], 1e-13)


@every_model
def test_a_weight_is_a_repetition(model: Model) -> None:
    n = 90
    X, y = models.data(model, n)
    m, weight = models.mixture(model, seed=3), weights(n)
    repeat = np.repeat(np.arange(n), weight.astype(int))
    same(results(*m.objective(X, y, weight)), results(*m.objective(X[repeat], y[repeat])))


@every_model
def test_rows_of_weight_zero_do_not_matter(model: Model) -> None:
    n = 90
    X, y = models.data(model, n)
    m, weight = models.mixture(model, seed=3), weights(n)
    kept = weight > 0
    far = y.copy()
    far[~kept] = 1e30
    same(results(*m.objective(X, far, weight)), results(*m.objective(X[kept], y[kept], weight[kept])))
