"""Exact statements on what is not identified, each with an explicit twin: max |p - q| is rounding, or it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import moestat as ms
from moestat.experts.nonlinear import NonlinearExpert
from moestat.losses import measure_rbar, rbar

X = np.linspace(-3.0, 3.0, 61)[:, None]
EXPERTS: dict[str, Any] = {
    "expert_coef": [[-2.0], [2.0]], "expert_intercept": [1.0, -1.0], "expert_scale": [0.5, 0.4],
}  # fmt: skip
SLOPES: dict[str, Any] = {"gate_coef": [[1.6], [0.0]], "gate_intercept": [0.5, 0.0]}


def doubled(params: dict[str, Any]) -> dict[str, Any]:
    """Every expert twice, one after the other."""
    return {name: np.repeat(np.asarray(value, dtype=float), 2, axis=0) for name, value in params.items()}


def gap(p: Any, q: Any, y: np.ndarray | None = None) -> float:
    """`max |p - q|` on a grid of x and y, relative to `max p`."""
    grid = np.linspace(-9.0, 9.0, 73) if y is None else y
    rows, responses = np.repeat(X, len(grid), axis=0), np.tile(grid, len(X))
    left, right = (np.exp(m.log_density(rows, responses)) for m in (p, q))
    return float(np.abs(left - right).max() / left.max())


SPLITS: list[tuple[Any, dict[str, Any], float]] = [
    (ms.gates.SoftmaxGate(), SLOPES, 1.0),
    (ms.gates.SoftmaxGate(transform="tanh"), SLOPES, 1.0),
    (ms.gates.SoftmaxGate(temperature=0.5), SLOPES, 0.5),
    (ms.gates.QuadraticGate(), {**SLOPES, "gate_coef": [[1.6, -0.4], [0.0, 0.0]]}, 1.0),
    (ms.gates.QuadraticMonomialGate(), SLOPES, 1.0),
]


@pytest.mark.parametrize(("gate", "slopes", "tau"), SPLITS, ids=lambda v: getattr(v, "name", None))
def test_softmax_gates_of_linear_features_with_twice_the_experts(gate: Any, slopes: Any, tau: float) -> None:
    """Σ_i w_i exp(δ_i x) is a common factor of all numerators."""
    truth = ms.ConditionalMixture(gate, params=slopes | EXPERTS)
    params = doubled(slopes | EXPERTS)
    params["gate_coef"] += np.tile([1.3, -1.3], 2)[:, None]
    params["gate_intercept"] += tau * np.log(np.tile([0.3, 0.7], 2))
    twin = ms.ConditionalMixture(gate, params=params)
    assert gap(truth, twin) < 1e-14
    moved = twin.mixing_measure()
    name = "gate" if "gate" in moved.atoms else "gate_quadratic"
    assert np.ptp(moved.atoms[name]) > 1.3
    assert gap(truth, ms.ConditionalMixture(gate, params=params | {"gate_intercept": np.zeros(4)})) > 0.01


def test_top_k_in_one_column_with_twice_the_experts_and_twice_as_many_active() -> None:
    slopes = {"gate_coef": [[3.0], [1.0], [0.0]], "gate_intercept": [0.5, 0.2, 0.0]}
    experts = {
        "expert_coef": [[-2.0], [2.0], [0.0]],
        "expert_intercept": [1.0, -1.0, 0.0],
        "expert_scale": [0.5, 0.4, 0.3],
    }
    truth = ms.ConditionalMixture(ms.gates.TopKGate(2), params=slopes | experts)
    params = doubled(slopes | experts)
    params["gate_coef"] += np.tile([0.2, -0.2], 3)[:, None]  # the ranks of the pairs stay
    params["gate_intercept"] -= np.log(2.0)
    assert gap(truth, ms.ConditionalMixture(ms.gates.TopKGate(4), params=params)) < 1e-14


@pytest.mark.parametrize("pattern", [0.5, 1.3])
def test_the_same_split_is_another_model_for_laplace_and_normalised_sigmoid_gates(pattern: float) -> None:
    places = {"gate_location": [[0.8], [-0.8]], "gate_intercept": [0.5, 0.0]}
    for gate, slopes, moved in (("laplace", places, "gate_location"), ("normalized_sigmoid", SLOPES, "gate_coef")):
        truth = ms.ConditionalMixture(gate, params=slopes | EXPERTS)
        params = doubled(slopes | EXPERTS)
        params[moved] += np.tile([pattern, -pattern], 2)[:, None]
        params["gate_intercept"] -= np.log(2.0)
        assert gap(truth, ms.ConditionalMixture(gate, params=params)) > 0.02


def test_temperature_and_slopes_have_one_scale() -> None:
    truth = ms.ConditionalMixture(ms.gates.SoftmaxGate(temperature=0.5), params=SLOPES | EXPERTS)
    scaled = {name: 3.0 * np.asarray(value) for name, value in SLOPES.items()}
    assert gap(truth, ms.ConditionalMixture(ms.gates.SoftmaxGate(temperature=1.5), params=scaled | EXPERTS)) < 1e-15
    assert gap(truth, ms.ConditionalMixture(ms.gates.SoftmaxGate(temperature=1.4), params=scaled | EXPERTS)) > 1e-3


def test_lengths_of_a_cosine_router() -> None:
    rng = np.random.default_rng(0)
    rows, y = rng.uniform(-2.0, 2.0, (300, 2)), rng.normal(0.0, 2.0, 300)
    params = {**EXPERTS, "expert_coef": [[-2.0, 1.0], [2.0, 0.0]], "gate_intercept": [0.4, 0.0]}
    slopes = np.array([[1.0, 0.3], [-0.2, 1.5]])
    truth = ms.ConditionalMixture("cosine", params=params | {"gate_coef": slopes})
    longer = ms.ConditionalMixture("cosine", params=params | {"gate_coef": slopes * [[7.0], [0.01]]})
    p, q = (np.exp(m.log_density(rows, y)) for m in (truth, longer))
    assert np.abs(p - q).max() < 1e-14
    perturbed = [
        ms.ConditionalMixture("perturbed_cosine", params=params | {"gate_coef": s}) for s in (slopes, 7.0 * slopes)
    ]
    p, q = (np.exp(m.log_density(rows, y)) for m in perturbed)
    assert np.abs(p - q).max() > 1e-4


def class_twin(slopes: list[float], intercepts: list[float], first: int, second: int) -> float:
    """Expert 1 of two as two experts of the same gate: the numerators of two classes with one slope are moved against each other.

    Slopes and intercepts are those of three classes, the last one zero.
    """
    numerators = np.exp(np.array(intercepts))
    halves = []
    for sign in (1.0, -1.0):
        moved = numerators.copy()
        moved[first] += sign * 0.4 * min(numerators[first], numerators[second])
        moved[second] -= sign * 0.4 * min(numerators[first], numerators[second])
        halves.append(np.log(moved) - np.log(moved[-1]))
    a = np.array(slopes[:2])[:, None]
    other: dict[str, Any] = {"coef": [[1.0], [2.0]], "intercept": [1.0, 2.0]}
    truth = ms.ConditionalMixture("softmax", ms.experts.MultinomialExpert(), SLOPES | {
        "expert_coef": [a, other["coef"]], "expert_intercept": [intercepts[:2], other["intercept"]],
    })  # fmt: skip
    twin = ms.ConditionalMixture("softmax", ms.experts.MultinomialExpert(), {
        "gate_coef": [[1.6], [1.6], [0.0]], "gate_intercept": [0.5 - np.log(2.0), 0.5 - np.log(2.0), 0.0],
        "expert_coef": [a, a, other["coef"]], "expert_intercept": [*(half[:2] for half in halves), other["intercept"]],
    })  # fmt: skip
    return gap(truth, twin, np.arange(3.0))


def test_multinomial_experts_without_slopes() -> None:
    assert class_twin([0.0, 0.0, 0.0], [0.3, 0.2, 0.0], 0, 1) < 1e-15
    assert class_twin([0.0, 0.0, 0.0], [0.3, 0.2, 0.0], 0, 2) < 1e-15


def test_multinomial_experts_with_two_equal_slopes() -> None:
    """Also where they are not zero; distinct ones are another model."""
    assert class_twin([1.5, 1.5, 0.0], [0.3, 0.2, 0.0], 0, 1) < 1e-15
    assert class_twin([1.5, 1.0, 0.0], [0.3, 0.2, 0.0], 0, 1) > 0.01


@pytest.mark.parametrize("gate", ["softmax", "laplace", "quadratic", "normalized_sigmoid"])
def test_linear_experts_under_least_squares(gate: str) -> None:
    """The same gate twice, expert slopes and intercepts with the same mean."""
    places = {"gate_location": [[0.8], [-0.8]], "gate_intercept": [0.5, 0.0]}
    quadratic = {**SLOPES, "gate_coef": [[1.6, -0.4], [0.0, 0.0]]}
    own = {"laplace": places, "quadratic": quadratic}.get(gate, SLOPES)
    lines = {name: EXPERTS[name] for name in ("expert_coef", "expert_intercept")}
    truth = ms.RegressionFunction(gate, params=own | lines)
    params = doubled(own | lines)
    params["expert_coef"] += np.array([0.7, -0.7, 2.0, -2.0])[:, None]
    params["expert_intercept"] += [1.1, -1.1, -0.3, 0.3]
    if gate != "normalized_sigmoid":
        params["gate_intercept"] -= np.log(2.0)
    f, g = truth.mean(X), ms.RegressionFunction(gate, params=params).mean(X)
    assert np.abs(f - g).max() < 4e-15 * np.abs(f).max()
    assert (
        np.abs(f - ms.RegressionFunction(gate, params=params | {"expert_intercept": np.zeros(4)}).mean(X)).max() > 0.1
    )


def test_relu_experts_have_a_scale() -> None:
    params = SLOPES | EXPERTS | {"expert_output": [1.5, -0.7]}
    scaled = dict(params)
    for name, factor in (("expert_coef", 30.0), ("expert_intercept", 30.0), ("expert_output", 1.0 / 30.0)):
        scaled[name] = factor * np.asarray(params[name])
    models = {
        activation: [
            ms.ConditionalMixture("softmax", NonlinearExpert(activation=activation), p) for p in (params, scaled)
        ]
        for activation in ("relu", "gelu")
    }
    assert gap(*models["relu"]) < 3e-14
    assert gap(*models["gelu"]) > 1e-3


@pytest.mark.parametrize("m", [2, 3, *(pytest.param(m, marks=pytest.mark.slow) for m in (4, 5, 6, 7))])
def test_the_order_of_an_over_specified_cell(m: int) -> None:
    assert measure_rbar(m, n_starts=8) == rbar(m) == 2 * m
