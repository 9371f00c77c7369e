"""The gate's M-step: exact second derivatives against differences, the step they give, and EM that ends at maxima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moestat.fitting import fit_mixture
from moestat.gates import (
    ActivationGate,
    CosineGate,
    GaussianGate,
    HierarchicalGate,
    LaplaceGate,
    NormalizedSigmoidGate,
    PerturbedCosineGate,
    SharedExperts,
)
from moestat.gates.masked import SoftmaxScores
from moestat.gates.scores import newton_move
from moestat.layout import Layout
from moestat.maps import make_map
from moestat.mixture import ConditionalMixture
from moestat.registry import resolve_expert

K = 3
CURVED = [
    CosineGate(0.5),
    PerturbedCosineGate(),
    ActivationGate(),
    GaussianGate("conditional"),
    NormalizedSigmoidGate(),
    HierarchicalGate([[0, 1], 2]),
    SharedExperts(1, "gated", CosineGate()),
]


def random_model(gate: Any, seed: int) -> ConditionalMixture:
    rng = np.random.default_rng(seed)
    maps = make_map(gate.degree, range(2), inputs=gate.inputs()), make_map(1, range(2))
    layout = Layout(gate, resolve_expert("gaussian"), K, 1, 1, 3, 3, np.zeros((K, 1)))
    params = layout.unpack(rng.normal(size=layout.n_params))
    return ConditionalMixture._from_internal(layout, params._replace(gate=gate.canonical(params.gate)), maps, 2, True)


@pytest.mark.parametrize("gate", CURVED, ids=repr)
def test_bend_is_the_second_derivative_of_the_gates_part(gate: Any) -> None:
    """Minus the differences of `Σ w r log π` at fixed responsibilities; the information is not, or only where they agree."""
    m, rng = random_model(gate, 1), np.random.default_rng(2)
    X, y, weight = rng.normal(size=(40, 2)), rng.normal(size=40), rng.uniform(0.5, 2.0, 40)
    objective, theta = m.objective(X, y, weight, raw=True)
    resp, n, h = rng.dirichlet(np.ones(K), 40).T, m.layout.n_gate, 1e-4
    at = objective.em_pass(theta, resp)

    def slope(move: np.ndarray) -> np.ndarray:
        return objective.em_pass(np.concatenate([theta[:n] + move, theta[n:]]), resp).statistics["gate_slope"]

    exact = np.array([(slope(h * e) - slope(-h * e)) / (2.0 * h) for e in np.eye(n)])
    np.testing.assert_allclose(at.statistics["gate_bend"], -exact, atol=1e-5 * np.abs(exact).max())
    assert np.abs(at.information + exact).max() > 1e-2 * np.abs(exact).max()


@pytest.mark.parametrize("gate", [SoftmaxScores(), LaplaceGate()], ids=repr)
def test_scoring_where_it_is_exact_or_better(gate: Any) -> None:
    m, rng = random_model(gate, 1), np.random.default_rng(2)
    objective, theta = m.objective(rng.normal(size=(40, 2)), rng.normal(size=40), raw=True)
    assert "gate_bend" not in objective.em_pass(theta).statistics


def test_newton_move() -> None:
    """Newton's step where the second derivative is negative; uphill where not; also in a metric of less than full rank."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 3))
    metric, slope = root @ root.T, root @ rng.normal(size=3)
    scoring = newton_move(slope, metric, metric)
    np.testing.assert_allclose(metric @ scoring, slope, rtol=1e-9)
    np.testing.assert_allclose(newton_move(slope, metric, -2.0 * metric), 0.5 * scoring, rtol=1e-9)
    bend = rng.normal(size=(6, 6))
    assert slope @ newton_move(slope, metric, bend + bend.T) > 0.0
    full = np.eye(6) + metric
    np.testing.assert_allclose(newton_move(slope, np.eye(6), full), np.linalg.solve(full, slope), rtol=1e-9)
    assert newton_move(np.zeros(2), np.zeros((2, 2)), np.eye(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("gate", "second"),
    [
        (CosineGate(0.3), [-0.6, 0.8]),
        (CosineGate(1.0), [-1.0, 0.1]),
        (PerturbedCosineGate(temperature=0.3), [-0.6, 0.8]),
    ],
    ids=str,
)
def test_em_ends_at_the_maximum(gate: Any, second: list[float]) -> None:
    """From starts that are off: with scoring steps some stop half a nat below, and two nats where directions are nearly opposite."""
    params = {
        "gate_coef": [[1.0, 0.0], second],
        "gate_intercept": [0.3, 0.0],
        "expert_coef": [[1.0, 0.5], [-1.0, 0.0]],
        "expert_intercept": [2.0, -1.0],
        "expert_scale": [0.5, 0.8],
    }
    truth = ConditionalMixture(gate, "gaussian", params)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = rng.uniform(-2.0, 2.0, (400, 2))
        y = truth.sample(X, rng)
        best = fit_mixture(X, y, 2, gate=gate, init=params).result.loglik
        start = params | {"gate_coef": np.array(params["gate_coef"]) + 0.5 * rng.normal(size=(2, 2))}
        em = fit_mixture(X, y, 2, gate=gate, init=start, solver="em").result
        assert em.loglik == pytest.approx(best, abs=1e-5)
        assert em.n_iter < 100
