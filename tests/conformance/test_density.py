"""The density of every gate with every expert: it integrates to one, has the moments it says, and is what is sampled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from . import models
from .models import Model, every_model, one_response


@every_model
def test_gate_rows_sum_to_one(model: Model) -> None:
    m = models.mixture(model)
    X = np.vstack([models.data(model, 50)[0], 1e3 * models.data(model, 50)[0], 1e8 * np.eye(2)])
    proba = m.gate_proba(X)
    assert proba.shape == (102, 3)
    assert (proba >= 0.0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=0, atol=1e-14)
    if not (model.gate.index(3, 1) >= 0).any():
        np.testing.assert_array_equal(proba.round(15), np.full((102, 3), 1 / 3).round(15))


@every_model
def test_density_is_the_one_that_its_names_say(model: Model) -> None:
    m = models.mixture(model)
    X, y = models.data(model, 40)
    theta = m.free_vector()
    np.testing.assert_allclose(m.log_density(X, y), models.log_density(m, theta, X, y), rtol=1e-12, atol=1e-12)
    parts = models.joint(m, theta, X, y)
    np.testing.assert_allclose(m.log_gate(X) + m.expert_log_density(X, y), parts, rtol=1e-12, atol=1e-12)
    expected = np.exp(parts - np.log(np.exp(parts).sum(axis=1, keepdims=True)))
    np.testing.assert_allclose(m.responsibilities(X, y), expected, rtol=1e-9, atol=1e-14)


@one_response
def test_density_integrates_to_one_with_the_moments_it_says(model: Model) -> None:
    m = models.mixture(model)
    for x in models.data(model, 2)[0]:
        X = x[None]
        centers, spread = np.sort(m.expert_mean(X)[0]), m.expert_std(X).max()
        ends = centers[0] - 12.0 * spread, centers[-1] + 12.0 * spread

        def moment(power: int, low: float, high: float, X: np.ndarray = X, at: np.ndarray = centers) -> float:
            value = lambda t: t**power * np.exp(m.log_density(X, [t])[0])  # noqa: E731
            return float(
                integrate.quad(
                    value, low, high, points=at[(low < at) & (at < high)], epsabs=1e-12, epsrel=1e-12, limit=200
                )[0]
            )

        first, second = (moment(p, *ends) for p in (1, 2))
        assert moment(0, *ends) == pytest.approx(1.0, abs=1e-10)
        assert m.mean(X)[0] == pytest.approx(first, rel=1e-9, abs=1e-9)
        assert m.std(X)[0] == pytest.approx(np.sqrt(second - first**2), rel=1e-7)
        middle = float(m.mean(X)[0])
        assert m.cdf(X, [middle])[0] == pytest.approx(moment(0, ends[0], middle), abs=1e-10)


@pytest.mark.parametrize("model", [m for m in models.MODELS if m.n_responses > 1], ids=lambda m: m.name)
def test_joint_density_of_several_responses_integrates_to_one(model: Model) -> None:
    m = models.mixture(model)
    X = models.data(model, 1)[0]
    d, mean = model.n_responses, m.expert_mean(X)[0]
    eigenvalues = np.linalg.eigvalsh(m.params["expert_covariance"])
    # the trapezoidal rule on a Gaussian: its error is exp(-2 π² (σ/h)²), here below 1e-15
    h, reach = 0.7 * np.sqrt(eigenvalues.min()), 7.0 * np.sqrt(eigenvalues.max())
    axes = [np.arange(mean[:, j].min() - reach, mean[:, j].max() + reach, h) for j in range(d)]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    total = 0.0
    for chunk in np.array_split(grid, max(1, len(grid) // 50_000)):
        total += np.exp(m.log_density(np.repeat(X, len(chunk), axis=0), chunk)).sum() * h**d
    assert total == pytest.approx(1.0, abs=1e-9)


@one_response
def test_sample_has_the_distribution_function(model: Model) -> None:
    m = models.mixture(model)
    X = np.random.default_rng(5).uniform(-1.5, 1.5, (4000, 2))
    y = m.sample(X, np.random.default_rng(6))
    assert stats.kstest(m.cdf(X, y), "uniform").pvalue > 1e-3
    np.testing.assert_array_equal(y, m.sample(X, np.random.default_rng(6)))


@every_model
def test_sample_has_the_experts_moments(model: Model) -> None:
    m = models.mixture(model)
    n = 6000
    X = np.repeat(models.data(model, 1)[0], n, axis=0)
    y, labels = m.sample(X, np.random.default_rng(7), return_labels=True)
    y = y.reshape(n, -1)
    proba = m.gate_proba(X[:1])[0]
    count = np.bincount(labels, minlength=3)
    assert (np.abs(count - n * proba) <= 5.0 * np.sqrt(n * proba * (1 - proba)) + 1e-9).all()
    for k in np.flatnonzero(count > 100):
        e = y[labels == k] - m.expert_mean(X[:1]).reshape(3, -1)[k]
        covariance = m.expert_covariance()[k]
        spread = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2)
        assert (np.abs(e.mean(axis=0)) <= 5.0 * np.sqrt(np.diag(covariance) / count[k])).all()
        assert (np.abs(e.T @ e / count[k] - covariance) <= 5.0 * spread / np.sqrt(count[k])).all()


@every_model
def test_rows_together_are_rows_one_by_one(model: Model) -> None:
    m = models.mixture(model)
    X, y = models.data(model, 12)
    single = np.array([m.log_density(X[i : i + 1], y[i : i + 1])[0] for i in range(12)])
    np.testing.assert_allclose(m.log_density(X, y), single, rtol=1e-13, atol=1e-13)


@every_model
def test_order_and_gauge_leave_the_density(model: Model) -> None:
    m = models.mixture(model)
    X, y = models.data(model, 30)
    expected = m.log_density(X, y)
    moved = m.permuted([2, 0, 1])
    np.testing.assert_allclose(moved.log_density(X, y), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moved.gate_proba(X), m.gate_proba(X)[:, [2, 0, 1]], rtol=1e-12, atol=1e-14)
    for name, value in moved.permuted([1, 2, 0]).params.items():
        np.testing.assert_allclose(value, m.params[name], rtol=1e-12, atol=1e-12)
    for other in (moved, m.canonical()):
        assert not other.params["gate_intercept"][-1]
        assert not other.params["gate_coef"][-1].any()
        np.testing.assert_allclose(other.log_density(X, y), expected, rtol=1e-12, atol=1e-12)
    again = m.with_free_vector(m.free_vector())
    np.testing.assert_allclose(again.log_density(X, y), expected, rtol=1e-12, atol=1e-12)
    assert len(m.free_names()) == len(set(m.free_names())) == len(m.free_vector())
