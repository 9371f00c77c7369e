"""Gates that are not linear in their coefficients: scores and derivatives against mpmath at 50 digits."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from moestat.gates.activation import ActivationGate
from moestat.gates.cosine import CosineGate, PerturbedCosineGate
from moestat.gates.laplace import LaplaceGate

from .maps_cases import CASES, FREE, INTERCEPT, exact, laplace, points

EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture(autouse=True)
def _digits():
    with mp.workdps(50):
        yield


def close(got, want, tolerance):
    """Errors relative to the largest number of the last axis but the rows."""
    want = np.array(want.tolist(), dtype=float)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * max(1.0, np.abs(want).max())


def log_prob(case, gamma, x):
    scores = [case.score(row, x) for row in gamma]
    total = mp.log(mp.fsum(mp.exp(s) for s in scores))
    return [s - total for s in scores]


@EACH
def test_scores(case):
    z = points(case.size[1])
    want = np.array([[case.score(exact(row), exact(x)) for x in z[1:].T] for row in case.gamma])
    close(case.gate.scores(case.gamma, z), want, 1e-14)
    want = np.array([log_prob(case, [exact(row) for row in case.gamma], exact(x)) for x in z[1:].T]).T
    close(case.gate.forward(case.gamma, z)[1], want, 1e-14)


@EACH
def test_score_derivatives(case):
    gamma, (k, d) = case.gamma, case.size
    p, z = gamma.shape[1], points(d, 3)
    weight = np.random.default_rng(1).normal(size=(k, z.shape[1]))
    first, second = np.empty((k, p, z.shape[1]), dtype=object), np.full((k, p, p), mp.mpf(0), dtype=object)
    for j, row in enumerate(gamma):
        for b, x in enumerate(exact(x) for x in z[1:].T):

            def score(*coefficients, x=x):
                return case.score(list(coefficients), x)

            for i in range(p):
                orders = np.eye(p, dtype=int)[i]
                first[j, i, b] = mp.diff(score, exact(row), tuple(orders.tolist()))
                for m in range(i + 1):
                    both = tuple((orders + np.eye(p, dtype=int)[m]).tolist())
                    second[j, i, m] += mp.mpf(weight[j, b]) * mp.diff(score, exact(row), both)
                    second[j, m, i] = second[j, i, m]
    close(case.gate.score_jacobian(gamma, z), first, 1e-13)
    curvature = case.gate.score_curvature(gamma, z, weight)
    close(np.zeros((k, p, p)) if curvature is None else curvature, second, 1e-13)


def chain(gate, gamma, z, weight):
    """Gradient and Hessian of `Σ weight_kb log π_kb` in the free coefficients, from the pieces of the gate."""
    scores, log_pi = gate.forward(gamma, z)
    inner = gate.score_jacobian(gamma, z)
    slope = np.einsum("kb,ksb->sb", weight, gate.jacobian(scores, log_pi))
    gradient = np.einsum("sb,spb->sp", slope, inner)
    hessian = np.einsum("stb,spb,tqb->sptq", gate.curvature(scores, log_pi, weight), inner, inner)
    own = gate.score_curvature(gamma, z, slope)
    s = np.arange(len(gamma))
    if own is not None:
        hessian[s, :, s] += own
    index = gate.index(len(weight), len(z)).ravel()
    tie = (index[:, None] == np.arange(index.max() + 1)).astype(float)
    size = gamma.size
    return gradient.ravel() @ tie, tie.T @ hessian.reshape(size, size) @ tie


@pytest.mark.parametrize(
    "name", ["laplace-1", "laplace-smooth-1", "laplace-smooth-2", "cosine", "activation-1", "gaussian-1"]
)
def test_chain(name):
    """The whole way from free coefficients to weighted log-probabilities; a temperature is one coefficient of all experts."""
    case = CASES[name]
    gamma, (k, d) = case.gamma, case.size
    z = points(d, 3)
    weight = np.random.default_rng(2).uniform(size=(k, z.shape[1]))
    index = case.gate.index(k, 1 + d)
    free = exact([gamma[index == v][0] for v in range(index.max() + 1)])

    def value(*theta):
        rows = [[theta[v] if v >= 0 else mp.mpf(float(c)) for v, c in zip(i, g)] for i, g in zip(index, gamma)]
        terms = zip(weight.T, z[1:].T, strict=True)
        return mp.fsum(mp.fdot(exact(w), log_prob(case, rows, exact(x))) for w, x in terms)

    eye = np.eye(len(free), dtype=int)
    first = np.array([mp.diff(value, free, tuple(e.tolist())) for e in eye])
    second = np.array([[mp.diff(value, free, tuple((e + f).tolist())) for e in eye] for f in eye])
    gradient, hessian = chain(case.gate, gamma, z, weight)
    close(gradient, first, 1e-13)
    close(hessian, second, 1e-12)


@EACH
@pytest.mark.parametrize("size", [0.0, 1e-8, 1e4, 1e9])
def test_extreme_predictors(case, size):
    """Nothing overflows; log-probabilities are right relative to the scores, for the Laplace gate absolutely."""
    k, d = case.size
    z = points(d)
    z[1:] *= size
    if size == 0.0 and isinstance(case.gate, CosineGate):
        np.testing.assert_array_equal(case.gate.scores(case.gamma, z), np.repeat(case.gamma[:, :1], z.shape[1], axis=1))
    else:
        want = np.array([log_prob(case, [exact(row) for row in case.gamma], exact(x)) for x in z[1:].T]).T
        scale = 1.0 if isinstance(case.gate, LaplaceGate) else max(1.0, np.abs(case.gate.scores(case.gamma, z)).max())
        np.testing.assert_allclose(
            case.gate.forward(case.gamma, z)[1], want.astype(float), rtol=1e-14, atol=1e-14 * scale
        )
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert np.isfinite(case.gate.score_jacobian(case.gamma, z)).all()
        curvature = case.gate.score_curvature(case.gamma, z, np.ones((k, z.shape[1])))
    assert curvature is None or np.isfinite(curvature).all()


# -- where a formula has a corner ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2])
def test_laplace_at_a_place(d):
    """The exact distance has derivative zero at its own place, and the other rows count as before; a smooth one has -1/δ there."""
    gamma = np.column_stack([[0.3, 0.0], FREE[:2, :d]])
    z = points(d)
    at = np.column_stack([z, [1.0, *gamma[0, 1:]]])
    ones = np.ones((2, at.shape[1]))
    for gate, curvature in ((LaplaceGate(0.0), 0.0), (LaplaceGate(), -1000.0)):
        np.testing.assert_array_equal(gate.score_jacobian(gamma, at)[0, 1:, -1], 0.0)
        with_row, without = (gate.score_curvature(gamma, x, ones[:, : x.shape[1]]) for x in (at, z))
        np.testing.assert_allclose((with_row - without)[0, 1:, 1:], curvature * np.eye(d), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 1e-3])
def test_laplace_far_from_the_origin(smoothing):
    """Places and x at 1e6: only differences count, and they keep their digits."""
    shift = np.array([0.0, 1e6, -1e6])
    gamma, z = np.column_stack([INTERCEPT, FREE]) + shift, points(2) + shift[:, None]
    case = CASES["laplace-2"]._replace(score=laplace(smoothing))
    want = np.array([log_prob(case, [exact(row) for row in gamma], exact(x)) for x in z[1:].T]).T
    np.testing.assert_allclose(LaplaceGate(smoothing).forward(gamma, z)[1], want.astype(float), rtol=1e-14)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("smoothing", [1e-3, 0.1, 5.0])
def test_laplace_smoothing_changes_scores_by_at_most_its_size(d, smoothing):
    z = np.column_stack([points(d, 200), [1.0, *FREE[0, :d]]])
    gamma = np.column_stack([INTERCEPT, FREE[:, :d]])
    gap = LaplaceGate(0.0).scores(gamma, z) - LaplaceGate(smoothing).scores(gamma, z)
    assert gap.min() >= 0.0
    assert gap.max() == pytest.approx(smoothing, rel=1e-12)  # at a place itself
    exactly, smooth = (LaplaceGate(s).forward(gamma, z)[1] for s in (0.0, smoothing))
    assert np.abs(exactly - smooth).max() <= smoothing


@pytest.mark.parametrize("gate", [CosineGate(), PerturbedCosineGate()])
def test_cosine_of_zero_slopes(gate):
    """Zero slopes give the intercept; the perturbed gate is differentiable there with slope `x/(t1 (|x| + t2))`."""
    gamma, z = np.array([[0.4, 0.0, 0.0]]), points(2)
    np.testing.assert_array_equal(gate.scores(gamma, z), 0.4)
    jacobian = gate.score_jacobian(gamma, z)[0, 1:]
    want = 0.0 if isinstance(gate, CosineGate) else z[1:] / (0.1 * (np.linalg.norm(z[1:], axis=0) + 0.1))
    np.testing.assert_allclose(jacobian, np.broadcast_to(want, jacobian.shape), rtol=1e-14)
    assert np.isfinite(gate.score_curvature(gamma, z, np.ones((1, 5)))).all()


def test_perturbed_cosine_tends_to_cosine():
    """As the perturbations vanish."""
    gamma, z = np.column_stack([INTERCEPT, FREE]), points(2)
    want = CosineGate(0.5).scores(gamma, z)
    np.testing.assert_allclose(PerturbedCosineGate(1e-12, 1e-12, 0.5).scores(gamma, z), want, rtol=1e-10)
    long = gamma * np.array([1.0, 1e12, 1e12])
    np.testing.assert_allclose(PerturbedCosineGate(0.2, 1e-12, 0.5).scores(long, z), want, rtol=1e-10)


@pytest.mark.parametrize(("name", "slope"), [("tanh", 1.0), ("sigmoid", 0.25), ("gelu", 0.5)])
def test_activation_tends_to_softmax(name, slope):
    """With τ and slopes small, intercepts in units of τ: softmax of `s'(0) β1ᵀx/τ`."""
    gate, tau, z = ActivationGate(name, temperature=1e-6), 1e-6, points(2)
    gamma = np.column_stack([tau * INTERCEPT, tau * FREE, np.zeros(3)])
    linear = np.column_stack([INTERCEPT, slope * FREE]) @ z
    want = linear - np.log(np.exp(linear).sum(axis=0))
    np.testing.assert_allclose(gate.forward(gamma, z)[1], want, atol=1e-5 if name == "gelu" else 1e-9)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu"])
def test_activation_derivatives_in_the_tails(name):
    """The function and two derivatives, relatively exact where they are not rounded to zero."""
    from moestat.gates.activation import ACTIVATIONS

    functions = {"tanh": mp.tanh, "sigmoid": lambda u: 1 / (1 + mp.exp(-u)), "gelu": lambda u: u * mp.ncdf(u)}
    u = np.array([-300.0, -30.0, -6.0, -0.75, -1e-9, 0.0, 1e-9, 0.3, 6.0, 30.0, 300.0, 1e200])
    got = ACTIVATIONS[name](u)
    with mp.workdps(400):
        for order in range(3):
            want = np.array([float(mp.diff(functions[name], mp.mpf(v), order)) for v in u[:-1]])
            np.testing.assert_allclose(got[order][:-1], want, rtol=2e-13, atol=1e-16 if name == "gelu" else 1e-300)
    assert np.isfinite([g[-1] for g in got]).all()
