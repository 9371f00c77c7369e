"""The Gaussian gate as a model of x: its density, the joint likelihood's derivatives, the closed M-step, and Bayes' rule."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from moestat.gates.gaussian import GaussianGate
from moestat.gates.quadratic import QuadraticGate, monomial_products, quadratic_coef

from .maps_cases import CASES, exact, gaussian, points

GATE = GaussianGate()
CASE = CASES["gaussian-2"]


def test_flags():
    assert GATE.joint
    assert not GaussianGate("conditional").joint


@pytest.mark.parametrize("name", ["gaussian-1", "gaussian-2"])
def test_density_of_x(name):
    """`log_weight` against SciPy's normal densities; weights given x are Bayes' rule."""
    case = CASES[name]
    gamma, z = case.gamma, points(case.size[1])
    params = case.params
    want = np.array(
        [
            w * multivariate_normal(c, v).pdf(z[1:].T)
            for w, c, v in zip(params["gate_weight"], params["gate_location"], params["gate_covariance"])
        ]
    )
    scores, log_prob = case.gate.forward(gamma, z)
    np.testing.assert_allclose(np.exp(case.gate.log_weight(gamma, scores)), want, rtol=1e-13)
    np.testing.assert_allclose(np.exp(log_prob), want / want.sum(axis=0), rtol=1e-13)


def test_conditional_gate_is_quadratic():
    """The same weights from the coefficients of a quadratic gate."""
    params, z = CASE.params, points(2)
    weight, c, v = (np.asarray(params[f"gate_{name}"]) for name in ("weight", "location", "covariance"))
    inverse = np.linalg.inv(v)
    linear = np.einsum("kij,kj->ki", inverse, c)
    constant = np.log(weight) - 0.5 * np.einsum("ki,ki->k", linear, c) - 0.5 * np.log(np.linalg.det(v))
    gamma = QuadraticGate().canonical(np.column_stack([constant, quadratic_coef(-0.5 * inverse, linear)]))
    scores = gamma @ np.vstack([z, monomial_products(z[1:].T).T])
    scores -= np.log(np.exp(scores).sum(axis=0))
    np.testing.assert_allclose(GATE.forward(CASE.gamma, z)[1], scores, rtol=1e-11, atol=1e-12)


def test_joint_derivatives():
    """Value, gradient, every row's score and the Hessian by the recipe of the docstring, against mpmath."""
    gamma, z = CASES["gaussian-1"].gamma, points(1, 3)
    rng = np.random.default_rng(3)
    log_f, w = rng.normal(size=(2, 3)), rng.uniform(0.5, 2.0, size=3)
    index = GATE.index(2, 2)
    tie = (index.ravel()[:, None] == np.arange(index.max() + 1)).astype(float)

    def row(b, *theta):
        rows = [[theta[v] if v >= 0 else mp.mpf(float(c)) for v, c in zip(i, g)] for i, g in zip(index, gamma)]
        mass = mp.log(mp.fsum(mp.exp(r[0]) for r in rows))
        terms = [gaussian(r, exact(z[1:, b])) + mp.mpf(f) for r, f in zip(rows, log_f[:, b])]
        return mp.log(mp.fsum(mp.exp(t) for t in terms)) - mass

    scores = GATE.scores(gamma, z)
    mass, slope, bend = GATE.log_mass(gamma)
    joint = scores + log_f
    top = joint.max(axis=0)
    loglik = top + np.log(np.exp(joint - top).sum(axis=0))
    resp = np.exp(joint - loglik)
    inner = GATE.score_jacobian(gamma, z)
    first = np.einsum("kb,kpb->bkp", resp, inner)
    row_scores = (first - slope).reshape(3, -1) @ tie
    k = np.arange(2)
    hessian = np.zeros((2, inner.shape[1], 2, inner.shape[1]))
    hessian[k, :, k] = np.einsum("kb,kpb,kqb->kpq", w * resp, inner, inner) + GATE.score_curvature(gamma, z, w * resp)
    hessian -= np.einsum("b,bkp,blq->kplq", w, first, first) + w.sum() * bend
    hessian = tie.T @ hessian.reshape(tie.shape[0], -1) @ tie
    with mp.workdps(50):
        free = exact([gamma[index == v][0] for v in range(index.max() + 1)])
        eye = np.eye(len(free), dtype=int)
        want = np.zeros(hessian.shape)
        for b in range(3):

            def f(*theta, b=b):
                return row(b, *theta)

            np.testing.assert_allclose(loglik[b] - mass, float(f(*free)), rtol=1e-14)
            slopes = [float(mp.diff(f, free, tuple(e.tolist()))) for e in eye]
            np.testing.assert_allclose(row_scores[b], slopes, rtol=1e-12, atol=1e-14)
            want += w[b] * np.array([[float(mp.diff(f, free, tuple((e + g).tolist()))) for e in eye] for g in eye])
    np.testing.assert_allclose(hessian, want, rtol=1e-12, atol=1e-12)


def responsibilities(d, n=200):
    rng = np.random.default_rng(4)
    return rng.dirichlet([0.5, 1.0, 2.0], size=n).T, 5.0 + np.array([1.0, 1e-3, 1e4])[:d, None] * rng.normal(
        size=(d, n)
    )


@pytest.mark.parametrize("d", [1, 2, 3])
def test_closed_m_step(d):
    """Weighted moments, also of columns in very different units, and a stationary point."""
    resp, x = responsibilities(d)
    gamma = GATE.maximise_joint(resp, x, np.full(d, 1e-150))
    params = GATE.to_params(gamma, 3)
    np.testing.assert_allclose(params["gate_weight"], resp.sum(axis=1) / resp.sum(), rtol=1e-14)
    for k in range(3):
        np.testing.assert_allclose(params["gate_location"][k], np.average(x, axis=1, weights=resp[k]), rtol=1e-13)
        want = np.cov(x, aweights=resp[k], ddof=0).reshape(d, d)
        unit = np.sqrt(np.outer(want.diagonal(), want.diagonal()))
        np.testing.assert_allclose(params["gate_covariance"][k] / unit, want / unit, rtol=1e-11, atol=1e-12)
    size = np.sqrt(np.diag(np.atleast_2d(np.cov(x))))
    z = np.vstack([np.ones(x.shape[1]), x])
    gradient = np.einsum("kb,kpb->kp", resp, GATE.score_jacobian(gamma, z))
    gradient -= resp.sum() * GATE.log_mass(gamma)[1]
    np.testing.assert_allclose(gradient[:, 1 : 1 + d] * size, 0.0, atol=1e-9)
    rows, cols = np.tril_indices(d)
    unit = np.where(rows == cols, 1.0, 1.0 / size[rows])
    np.testing.assert_allclose(gradient[:, 0], 0.0, atol=1e-10)
    np.testing.assert_allclose(gradient[:, 1 + d :] * unit, 0.0, atol=1e-9)


def test_closed_m_step_on_the_floor():
    """With a floor the M-step is the constrained maximiser: stationary inside, pushed against the bound where it sits on it."""
    resp, x = responsibilities(2)
    free = np.sort(np.exp(GATE.maximise_joint(resp, x, np.full(2, 1e-150))[:, 3]))  # 1/L_11
    floor = np.array([free[:2].mean(), 1e-4])
    gamma = GATE.maximise_joint(resp, x, floor)
    low, high = GATE.floor_bounds(3, floor)
    assert (gamma >= low - 1e-12).all()
    assert (gamma <= high).all()
    on = gamma <= low + 1e-12
    assert on.sum() == 1
    z = np.vstack([np.ones(x.shape[1]), x])
    gradient = np.einsum("kb,kpb->kp", resp, GATE.score_jacobian(gamma, z)) - resp.sum() * GATE.log_mass(gamma)[1]
    assert (gradient[on] < 0.0).all()
    scale = np.array([1.0, 1.0, 1e-3, 1.0, 1e3, 1.0])
    np.testing.assert_allclose(np.where(on, 0.0, gradient * scale), 0.0, atol=1e-8)


def test_m_step_of_degenerate_rows():
    """Collinear columns and an expert without rows stay finite above the floor."""
    x = np.vstack([np.arange(6.0), 2.0 * np.arange(6.0)])
    resp = np.vstack([np.ones(6), np.zeros(6)])
    gamma = GATE.maximise_joint(resp, x, np.array([1e-2, 1e-2]))
    assert np.isfinite(gamma).all()
    assert (gamma >= GATE.floor_bounds(2, np.array([1e-2, 1e-2]))[0] - 1e-12).all()
    assert np.linalg.eigvalsh(GATE.to_params(gamma, 2)["gate_covariance"]).min() > 0.0
