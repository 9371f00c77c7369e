"""The sum of squares in nats: value, gradient, Hessian, Gauss–Newton and scores against complex steps, differences and plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import moestat as ms
from moestat import gates as g
from moestat.blocks import Rows
from moestat.experts.means import LinearMean, MeanExpert
from moestat.experts.ridge import NonlinearMean
from moestat.layout import Layout
from moestat.least_squares import LeastSquaresObjective
from moestat.maps import make_map
from moestat.solvers import EM, LM, certify, run

K, N = 3, 40
GATES = [
    g.SoftmaxGate(),
    g.SoftmaxGate(temperature=0.5),
    g.SoftmaxGate(transform="tanh"),
    g.SigmoidGate(),
    g.SigmoidGate(degree=2),
    g.NormalizedSigmoidGate(),
    g.QuadraticGate(),
    g.LaplaceGate(),
    g.CosineGate(),
    g.ActivationGate(),
    g.HierarchicalGate([[0, 1], 2]),
    g.SharedExperts(1),
    g.TopKGate(2),
    g.PrototypeGate(2, combine="mean"),
    g.GaussianGate("conditional"),
]
MEANS: list[MeanExpert] = [
    LinearMean(),
    LinearMean(2),
    NonlinearMean(activation="tanh"),
    NonlinearMean(2, "gelu", output=False),
    NonlinearMean(activation="power:3"),
]


def objective(gate: Any, mean: Any, **options: Any) -> tuple[LeastSquaresObjective, np.ndarray]:
    """Random rows with weights, and a random free vector."""
    rng = np.random.default_rng(sum(map(ord, f"{gate!r}{mean!r}")))
    X = rng.uniform(-2.0, 2.0, (N, 2))
    y = np.sin(2.0 * X[:, :1]) + X[:, 1:] ** 2 + 0.1 * rng.normal(size=(N, 1))
    maps = (make_map(gate.degree, range(2), inputs=gate.inputs()), make_map(mean.degree, range(2)))
    rows = Rows.build(X, y, rng.uniform(0.5, 2.0, N), maps)
    layout = Layout(gate, mean, K, 1, 1, maps[0].n_features, maps[1].n_features, np.zeros((K, mean.n_scale(1))))
    out = LeastSquaresObjective(rows, layout, **options)
    return out, 0.5 * rng.normal(size=layout.n_params)


def difference(function: Any, theta: np.ndarray, h: float = 2e-3) -> np.ndarray:
    """Derivatives by central differences of eighth order."""
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    steps = h * np.eye(len(theta))
    columns = [
        sum(w * (function(theta + i * s) - function(theta - i * s)) for i, w in weights.items()) / h for s in steps
    ]
    return np.stack(columns, axis=-1)


def complex_loglik(theta: np.ndarray, X: np.ndarray, y: np.ndarray, w: np.ndarray, sigmoid: bool, tanh: bool) -> Any:
    """The profile log-likelihood written out for softmax or sigmoid gates, and linear or tanh experts with output weights."""
    rows = K if sigmoid else K - 1
    gate = np.zeros((K, 3), dtype=complex)
    gate[:rows] = theta[: 3 * rows].reshape(rows, 3)
    coef = theta[3 * rows : 3 * rows + 3 * K].reshape(K, 3)
    features = np.column_stack([np.ones(len(X)), X])
    scores, eta = features @ gate.T, features @ coef.T
    weights = 1.0 / (1.0 + np.exp(-scores)) if sigmoid else np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    means = theta[3 * rows + 3 * K :] * np.tanh(eta) if tanh else eta
    squares = w @ (y - (weights * means).sum(axis=1)) ** 2
    total = w.sum()
    return -0.5 * total * (np.log(2.0 * np.pi * squares / total) + 1.0)


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_value_and_gradient_by_complex_steps(sigmoid: bool, tanh: bool) -> None:
    o, theta = objective(
        g.SigmoidGate() if sigmoid else g.SoftmaxGate(), NonlinearMean(activation="tanh") if tanh else LinearMean()
    )
    data = o.rows.X, o.rows.y[:, 0], o.rows.weight, sigmoid, tanh
    value, gradient, _ = o.derivatives(theta)
    steps = 1e-30j * np.eye(len(theta))
    exact = np.array([complex_loglik(theta + s, *data).imag / 1e-30 for s in steps])
    assert value == pytest.approx(complex_loglik(theta.astype(complex), *data).real, rel=1e-13)
    np.testing.assert_allclose(gradient, exact, rtol=1e-10, atol=1e-12 * np.abs(exact).max())


PAIRS = [(gate, MEANS[(i + j) % len(MEANS)]) for i, gate in enumerate(GATES) for j in (0, 2)]


@pytest.mark.parametrize(("gate", "mean"), PAIRS, ids=repr)
def test_derivatives(gate: Any, mean: Any) -> None:
    o, theta = objective(gate, mean, gate_l2=0.0 if gate.raw_features else 0.3)
    value, gradient, hessian = o.derivatives(theta)
    assert value == pytest.approx(o.value(theta), rel=1e-12)
    np.testing.assert_allclose(o.gradient(theta)[1], gradient, rtol=1e-10, atol=1e-11 * np.abs(gradient).max())
    size = 2e-5 if hasattr(gate, "mask") else 5e-4  # no row may change its experts
    np.testing.assert_allclose(
        difference(o.value, theta, size), gradient, rtol=1e-7, atol=1e-8 * np.abs(gradient).max()
    )
    numeric = difference(lambda t: o.gradient(t)[1], theta, size)
    np.testing.assert_allclose(numeric, hessian, rtol=1e-6, atol=1e-7 * np.abs(hessian).max())


@pytest.mark.parametrize("mean", MEANS, ids=repr)
@pytest.mark.parametrize("gate", [g.SoftmaxGate(), g.SigmoidGate(), g.PrototypeGate(2, combine="mean")], ids=repr)
def test_gauss_newton_is_that_of_the_regression_function(gate: Any, mean: Any) -> None:
    o, theta = objective(gate, mean)
    layout, w, y = o.layout, o.rows.weight, o.rows.y[:, 0]
    maps = (o.rows.gate_map, o.rows.expert_map)

    def f(t: np.ndarray) -> np.ndarray:
        mixture = ms.ConditionalMixture._from_internal(layout, layout.unpack(t), maps, 2, True)
        return ms.RegressionFunction.of(mixture, 1.0).mean(o.rows.X)

    slopes, residual = difference(f, theta, 5e-4), y - f(theta)
    variance = float(w @ residual**2) / w.sum()
    at = o.gauss_newton(theta)
    np.testing.assert_allclose(at.gradient, (w * residual) @ slopes / variance, rtol=1e-7, atol=1e-7)
    information = (slopes.T * w) @ slopes / variance
    np.testing.assert_allclose(at.information, information, rtol=1e-7, atol=1e-8 * information.max())
    # the same on the linear parameters alone, in which f has no curvature
    part = o.gauss_newton(theta, linear=True)
    linear = o.linear
    assert linear.any() == (mean.name == "linear" or bool(mean.scalars))
    np.testing.assert_allclose(part.gradient[linear], at.gradient[linear], rtol=1e-12)
    np.testing.assert_allclose(
        part.information[np.ix_(linear, linear)], at.information[np.ix_(linear, linear)], rtol=1e-12
    )
    assert not part.gradient[~linear].any()
    moved = theta + np.where(linear, 2.0, 0.0)
    np.testing.assert_allclose(f(moved) - f(theta), slopes @ (moved - theta), rtol=1e-7, atol=1e-7)


def test_scores_add_up_and_threads_change_nothing() -> None:
    o, theta = objective(g.SigmoidGate(), NonlinearMean())
    _value, gradient, _hessian = o.derivatives(theta)
    np.testing.assert_allclose(o.rows.weight @ o.row_scores(theta), gradient, rtol=1e-10, atol=1e-10)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30_000, 2)), rng.normal(size=(30_000, 1))
    maps = (make_map(1, range(2)),) * 2
    results = []
    for n_jobs in (1, 2):
        big = LeastSquaresObjective(Rows.build(X, y, np.empty(0), maps), o.layout, n_jobs=n_jobs)
        results.append(big.derivatives(theta))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_known_noise_is_the_likelihood_with_it() -> None:
    o, theta = objective(g.SoftmaxGate(), LinearMean(), noise=0.7)
    squares, total = o.squares(theta), o.total_weight
    assert o.value(theta) == pytest.approx(-0.5 * total * np.log(2 * np.pi * 0.49) - 0.5 * squares / 0.49, rel=1e-13)
    np.testing.assert_allclose(difference(o.value, theta), o.gradient(theta)[1], rtol=1e-7, atol=1e-7)
    numeric = difference(lambda t: o.gradient(t)[1], theta)
    np.testing.assert_allclose(numeric, o.derivatives(theta)[2], rtol=1e-6, atol=1e-6)


def test_an_exact_fit_has_a_finite_value_and_no_expert_is_degenerate() -> None:
    o, _ = objective(g.SoftmaxGate(), LinearMean())
    X = o.rows.X
    exact = Rows.build(X, (1.0 + X @ [2.0, -1.0])[:, None], np.empty(0), (o.rows.gate_map, o.rows.expert_map))
    o = LeastSquaresObjective(exact, o.layout)
    theta = np.r_[np.zeros(6), np.tile([1.0, 2.0, -1.0], K)]
    value, gradient, hessian = o.derivatives(theta)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.isfinite(hessian).all()
    assert o.supremum - value < 1e-5
    assert o.degenerate(theta) == ()
    assert run(LM(), o, theta + 0.1).certificate.certified


def test_shares_and_masses_are_of_the_weights() -> None:
    o, theta = objective(g.SigmoidGate(), LinearMean())
    features = np.column_stack([np.ones(N), o.rows.X])
    weights = 1.0 / (1.0 + np.exp(-features @ theta[:9].reshape(3, 3).T))
    shares = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(o.responsibilities(theta), shares.T, rtol=1e-12)
    mass, share = o.masses(theta)
    np.testing.assert_allclose(mass, o.rows.weight @ weights, rtol=1e-12)
    np.testing.assert_allclose(share, o.rows.weight @ shares, rtol=1e-12)


def test_em_is_refused_and_lm_refuses_a_likelihood() -> None:
    o, theta = objective(g.SoftmaxGate(), LinearMean())
    with pytest.raises(ValueError, match="EM maximises a likelihood"):
        run(EM(), o, theta)
    X, y = o.rows.X, o.rows.y[:, 0]
    likelihood, start = ms.fit_mixture(X, y, 2, rng=0, n_init=1).mixture.objective(X, y)
    with pytest.raises(ValueError, match="'lm' is for sums of squares"):
        LM().init(likelihood, start)
    assert certify(likelihood, start, 1e-8).certified
