"""Distances of expert functions: closed forms, quadrature, samples, matchings, experts of unlike parameters."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import integrate

from moestat.distributions import Empirical, Normal, Uniform
from moestat.losses import expert_function_loss


@dataclass(frozen=True)
class Mixture:
    """Softmax gate (slopes, levels) of x1 and any mean functions."""

    gate: tuple
    experts: tuple

    def gate_proba(self, X):
        scores = np.exp(np.outer(np.asarray(X)[:, 0], [b for b, _ in self.gate]) + [c for _, c in self.gate])
        return scores / scores.sum(axis=1, keepdims=True)

    def expert_mean(self, X):
        return np.stack([h(np.asarray(X)[:, 0]) for h in self.experts], axis=1)


UNIT = Uniform(0.0, 1.0)
EQUAL = ((0.0, 0.0), (0.0, 0.0))
TRUTH = Mixture(((25.0, -8.0), (0.0, 0.0)), (np.sin, lambda x: 4.0 + x**2))


def root(f, law=(0.0, 1.0)):
    return np.sqrt(integrate.quad(f, *law, epsabs=0, epsrel=1e-12, limit=200)[0] / (law[1] - law[0]))


def test_closed_form():
    """Lines and constant gates: ‖a x + b‖² = a²/3 + a b + b²; gates 2/3, 1/3 against halves."""
    truth = Mixture(EQUAL, (lambda x: x, lambda x: 5.0 - x))
    estimate = Mixture(((0.0, np.log(2.0)), (0.0, 0.0)), (lambda x: 5.0 - x + 0.2, lambda x: 1.1 * x + 0.1))
    found = expert_function_loss(estimate, truth, UNIT)
    assert found.cells.assignment.tolist() == [1, 0]
    line = np.sqrt(0.1**2 / 3 + 0.1 * 0.1 + 0.1**2)
    np.testing.assert_allclose(found.experts, [line / 3, 0.2 * 2 / 3], rtol=1e-12)
    np.testing.assert_allclose(found.gates, [1 / 6, 1 / 6], rtol=1e-12)
    a, b = 1.1 / 3 - 0.5, 0.1 / 3
    c, d = -2 / 3 + 1 / 2, 5.2 * 2 / 3 - 2.5
    expected = [np.sqrt(a**2 / 3 + a * b + b**2), np.sqrt(c**2 / 3 + c * d + d**2)]
    np.testing.assert_allclose(found.weighted, expected, rtol=1e-12)
    assert found.value == pytest.approx(sum(found.terms.values()), rel=1e-14)
    assert float(found) == found.value
    assert found.error < 1e-8 * found.value


@pytest.mark.parametrize("size", [1.0, 1e-6])
def test_against_quadrature(size):
    """An over-specified cell, with a steep gate and gaps of any size."""
    estimate = Mixture(
        ((25.0 + size, -8.0), (25.0, -8.0 - size), (0.0, 0.0)),
        (lambda x: np.sin(x) + 0.1 * size, lambda x: np.sin(x) - 0.1 * size * x, lambda x: 4.0 + x**2 + size * x),
    )
    found = expert_function_loss(estimate, TRUTH, UNIT)
    assert found.cells.pattern == (2, 1)

    def at(function):
        return lambda x: function(np.array([[x]]))

    gate, own = at(lambda X: estimate.gate_proba(X)[0]), at(lambda X: TRUTH.gate_proba(X)[0])
    mean = at(lambda X: estimate.expert_mean(X)[0])
    share = [integrate.quad(lambda x, i=i: gate(x)[i], 0, 1, epsrel=1e-12, limit=200)[0] for i in range(3)]
    near = [root(lambda x: 0.01 * size**2), root(lambda x: 0.01 * size**2 * x**2), root(lambda x: size**2 * x**2)]
    np.testing.assert_allclose(found.experts, [share[0] * near[0] + share[1] * near[1], share[2] * near[2]], rtol=1e-7)
    np.testing.assert_allclose(found.gates[1], root(lambda x: (gate(x)[2] - own(x)[1]) ** 2), rtol=1e-6)
    weighted = root(lambda x: (gate(x)[:2] @ mean(x)[:2] - own(x)[0] * np.sin(x)) ** 2)
    np.testing.assert_allclose(found.weighted[0], weighted, rtol=1e-6)


def test_functions_not_parameters_are_compared():
    """κ2 relu(κ1 x) has the scale of κ1 free: unlike parameters, the same function, no loss; labels play no part either."""

    def neuron(inner, outer):
        return lambda x: outer * np.maximum(inner * x, 0.0)

    truth = Mixture(EQUAL, (neuron(6.0, -8.0), neuron(1.0, 1.0)))
    estimate = Mixture(EQUAL, (neuron(0.5, 2.0), neuron(-24.0, -2.0)))
    assert expert_function_loss(estimate, truth, Uniform(-3.0, 3.0)).value > 1.0
    estimate = Mixture(EQUAL, (neuron(0.5, 2.0), neuron(24.0, -2.0)))
    found = expert_function_loss(estimate, truth, Uniform(-3.0, 3.0))
    assert found.value < 1e-12
    assert found.cells.assignment.tolist() == [1, 0]


def test_a_sample_is_an_empirical_law():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 1))
    estimate = Mixture(TRUTH.gate, (np.cos, lambda x: 4.0 - x))
    found = expert_function_loss(estimate, TRUTH, X)
    assert found.value == expert_function_loss(estimate, TRUTH, Empirical(X)).value
    assert found.error == 0.0
    gap = np.sqrt(((np.cos(X) - np.sin(X)) ** 2).mean())
    assert found.distances[0, 0] == pytest.approx(gap, rel=1e-14)
    assert found.experts[0] == pytest.approx(gap * TRUTH.gate_proba(X)[:, 0].mean(), rel=1e-14)


def test_two_features_and_several_responses():
    class Plane:
        def gate_proba(self, X):
            return np.full((len(X), 1), 1.0)

        def expert_mean(self, X):
            return np.asarray(X)[:, None, :] + self.shift

    truth, estimate = Plane(), Plane()
    truth.shift, estimate.shift = np.zeros(2), np.array([0.3, 0.4])
    found = expert_function_loss(estimate, truth, Normal([0.0, 0.0]))
    assert found.experts[0] == pytest.approx(0.5, rel=1e-9)
    assert found.value == pytest.approx(1.0, rel=1e-9)


def test_matching():
    truth = Mixture(EQUAL, (lambda x: 0.0 * x, lambda x: 0.0 * x + 1.0))
    estimate = Mixture(EQUAL, (lambda x: 0.0 * x + 0.7, lambda x: 0.0 * x + 0.9))
    assert expert_function_loss(estimate, truth, UNIT).cells.pattern == (0, 2)
    found = expert_function_loss(estimate, truth, UNIT, match="hungarian")
    assert found.cells.assignment.tolist() == [0, 1]
    np.testing.assert_allclose(found.experts, [0.35, 0.05], rtol=1e-12)
    # An expert that is seldom active is the one to go far.
    seldom = Mixture(((0.0, np.log(9.0)), (0.0, 0.0)), (lambda x: 0.0 * x + 0.6, lambda x: 0.0 * x + 0.9))
    swapped = expert_function_loss(seldom, truth, UNIT, match="hungarian")
    assert swapped.cells.assignment.tolist() == [1, 0]
    np.testing.assert_allclose(swapped.experts, [0.09, 0.36], rtol=1e-12)
    with pytest.raises(ValueError, match="equal numbers"):
        expert_function_loss(Mixture(EQUAL[:1], (np.sin,)), truth, UNIT, match="hungarian")
    with pytest.raises(ValueError, match="'voronoi' or 'hungarian', got 'best'"):
        expert_function_loss(estimate, truth, UNIT, match="best")
    # Two experts of the truth that are one function: the lower one takes the cell, and the tie is told.
    twins = Mixture(EQUAL, (np.sin, np.sin))
    found = expert_function_loss(twins, twins, UNIT)
    assert found.cells.tie
    assert found.cells.pattern == (2, 0)
