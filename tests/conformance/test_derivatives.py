"""Scores, gradient and Hessian of every model against complex-step derivatives of the density written out from names."""

from __future__ import annotations

import warnings

import numpy as np

from moestat.fitting import fit_mixture
from moestat.mixture import ConditionalMixture

from . import models
from .models import Model, every_model


def fitted(model: Model, n: int = 60) -> tuple[ConditionalMixture, np.ndarray, np.ndarray]:
    """The model in the coordinates of a fit that has only begun."""
    X, y = models.data(model, n)
    X = X + 100.0  # centring and scaling must matter
    start = models.mixture(model, seed=3).params
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_mixture(X, y, init=start, max_iter=1, **model.fit_arguments).mixture, X, y


@every_model
def test_scores_are_derivatives_and_sum_to_the_gradient(model: Model) -> None:
    m = models.mixture(model, seed=2)
    X, y = models.data(model, 40)
    theta = m.free_vector()
    exact = models.complex_step(lambda t: models.log_density(m, t, X, y), theta)
    scores = m.scores(X, y)
    np.testing.assert_allclose(scores, exact, rtol=1e-10, atol=1e-10 * (1.0 + np.abs(exact).max()))
    weight = np.random.default_rng(0).uniform(0.0, 2.0, len(X))
    objective, at = m.objective(X, y, weight, raw=True)
    value, gradient = objective.gradient(at)
    total = np.abs(weight @ np.abs(exact)).max() + 1.0
    np.testing.assert_allclose(at, theta, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(gradient, weight @ exact, rtol=1e-10, atol=1e-10 * total)
    np.testing.assert_allclose(objective.derivatives(at)[1], gradient, rtol=1e-11, atol=1e-11 * total)
    assert abs(value - weight @ m.log_density(X, y)) <= 1e-12 * np.abs(weight @ np.abs(m.log_density(X, y)))


@every_model
def test_hessian_is_the_derivative_of_the_gradient(model: Model) -> None:
    m = models.mixture(model, seed=2)
    X, y = models.data(model, 25)
    weight = np.random.default_rng(1).uniform(0.0, 2.0, len(X))

    # the gradient is compared with complex steps above; here it is differentiated
    objective, theta = m.objective(X, y, weight, raw=True)
    exact = models.difference(lambda t: objective.gradient(t)[1], theta)
    hessian = m.hessian(X, y, weight)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-15 * np.abs(hessian).max())
    np.testing.assert_allclose(hessian, exact, rtol=1e-8, atol=1e-9 * np.abs(exact).max())


@every_model
def test_internal_and_raw_coordinates_are_joined_by_the_jacobian(model: Model) -> None:
    m, X, y = fitted(model)
    jacobian = m.jacobian()
    inner, raw = m.scores(X, y, internal=True), m.scores(X, y)
    np.testing.assert_allclose(raw @ jacobian, inner, rtol=1e-6, atol=1e-6 * np.abs(inner).max())
    _, theta = m.objective(X, y)
    np.testing.assert_allclose(jacobian @ theta, m.free_vector(), rtol=1e-9, atol=1e-9 * np.abs(m.free_vector()).max())
    # the internal Hessian is accurate: differences of the internal gradient
    objective, theta = m.objective(X, y)
    hessian = m.hessian(X, y, internal=True)
    exact = models.difference(lambda t: objective.gradient(t)[1], theta)
    np.testing.assert_allclose(hessian, exact, rtol=1e-8, atol=1e-9 * np.abs(exact).max())
    if model.expert.degree <= 1:  # raw monomials of high degree about 100 lose the digits that the internal ones keep
        carried = jacobian.T @ m.hessian(X, y) @ jacobian
        np.testing.assert_allclose(carried, hessian, rtol=1e-6, atol=1e-6 * np.abs(hessian).max())
