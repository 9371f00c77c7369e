"""Population exponents against the theorems' values, and distances at nodes against exact divergences."""

import math

import numpy as np
import pytest

import moestat as ms
from moestat.divergences import hellinger
from moestat.simulate import build_law, build_truth, load_scenario, population_exponent
from moestat.simulate.exponents import scenario_exponents, stored_exponents
from moestat.simulate.nodes import nodes_of
from moestat.simulate.population import _row_of
from moestat.simulate.splits import split_atom


def parts(name):
    scenario = load_scenario(name)
    return build_truth(scenario), build_law(scenario)


@pytest.mark.parametrize(
    ("name", "component", "sizes", "expected"),
    [
        ("softmax-gaussian-over", "coef", (0.1, 0.05, 0.025), 2),
        ("softmax-gaussian-over", "intercept", (0.2, 0.1, 0.05), 4),
        ("softmax-gaussian-over", "scale", (0.08, 0.04, 0.02), 2),
        ("multinomial-over", "gate", (0.08, 0.04, 0.02), 2),
        ("quadratic-monomial", "gate", (0.08, 0.04, 0.02), 2),
        ("least-squares-tanh", "coef", (0.08, 0.04, 0.02), 2),
    ],
)
def test_exponents_of_the_theorems(name, component, sizes, expected):
    truth, law = parts(name)
    found = population_exponent(truth, x=law, component=component, sizes=sizes, n_starts=1)
    assert found.exponent == pytest.approx(expected, abs=0.1)
    assert found.rate == pytest.approx(-1 / (2 * expected), abs=0.02)
    assert found.steady
    assert np.all(np.diff(found.distances) < 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "component", "atoms", "expected"),
    [
        ("softmax-gaussian-over", "gate", 2, 2),
        ("softmax-gaussian-over-3", "intercept", 3, 6),
        ("gaussian-gate-type-2", "gate", 2, 4),
        ("gaussian-gate-type-2", "intercept", 2, 4),
        ("laplace", "coef", 2, 2),
        ("laplace", "gate", 2, 1.5),  # a kink that moves changes the density on an interval as long as the move
        ("quadratic-polynomial", "gate", 2, 4),  # squares of x are among the gate's features and take up second order
    ],
)
def test_exponents_of_further_models(name, component, atoms, expected):
    truth, law = parts(name)
    found = population_exponent(truth, x=law, component=component, atoms=atoms)
    assert found.exponent == pytest.approx(expected, abs=0.25)


@pytest.mark.parametrize(
    ("name", "component", "split"),
    [("multinomial-vanishing", "class0:Intercept", 1), ("least-squares-linear", "coef", 0)],
)
def test_what_is_not_identified_has_no_exponent(name, component, split):
    truth, law = parts(name)
    found = population_exponent(truth, x=law, component=component, split=split, sizes=(0.3, 0.15))
    assert not found.identified
    assert math.isinf(found.exponent)
    assert found.rate == 0
    assert str(found) == "not identified"


@pytest.mark.parametrize("name", ["softmax-gaussian-over", "laplace", "multinomial-over", "gaussian-gate-type-1"])
def test_distances_at_nodes_are_hellinger_distances(name):
    truth, law = parts(name)
    model = split_atom(truth, 0, 2)
    u = 0.2 * np.random.default_rng(1).standard_normal(model.n_params)
    other = model.at(u, _row_of(model, "coef"), 0.3)
    squares = nodes_of(truth, law).residuals(other) ** 2
    exact = hellinger(truth, other, x=None if name.startswith("gaussian-gate") else law)
    assert math.sqrt(squares.sum()) == pytest.approx(exact.value, rel=2e-3)


@pytest.mark.parametrize("name", ["softmax-gaussian-over", "laplace", "least-squares-tanh", "multinomial-over"])
def test_jacobians_against_differences(name):
    truth, law = parts(name)
    model, nodes = split_atom(truth, 1, 2), nodes_of(truth, law)
    u, step = 0.1 * np.random.default_rng(0).standard_normal(model.n_params), 1e-6
    here = nodes.jacobian(model.at(u, 0, 0.2)) @ model.derivative(u, 0, 0.2)
    for i, row in enumerate(np.eye(u.size)):
        ahead, behind = (nodes.residuals(model.at(u + sign * step * row, 0, 0.2)) for sign in (1, -1))
        np.testing.assert_allclose(here[:, i], (ahead - behind) / (2 * step), atol=2e-8)


@pytest.mark.parametrize("atoms", [2, 3])
def test_a_split_of_size_zero_is_the_truth(atoms):
    truth, law = parts("softmax-gaussian-over")
    model = split_atom(truth, 1, atoms)
    same = model.at(np.zeros(model.n_params), 0, 0.0)
    assert np.abs(nodes_of(truth, law).residuals(same)).max() < 1e-14
    moved = model.at(np.zeros(model.n_params), model.names.index("gate:x1"), 0.3)
    slopes = moved.params["gate_coef"][:, 0]
    assert slopes[0] - slopes[atoms - 1] == pytest.approx(0.3)


def test_exponents_of_a_scenario_stand_beside_its_component_losses(tmp_path):
    scenario = load_scenario("softmax-gaussian-over")
    rows = list(scenario_exponents(scenario, components=["coef", "gate"], splits=[1]))
    assert [(row.component, row.split, row.declared, row.agrees) for row in rows] == [
        ("coef", 1, -0.25, True), ("gate", 1, -0.25, True),
    ]  # fmt: skip
    assert stored_exponents(scenario, tmp_path) == []
    exact = load_scenario("softmax-gaussian-exact")
    assert stored_exponents(exact, tmp_path, compute=True) == []  # it declares no component loss
    assert (tmp_path / "exponents.json").exists()


def test_errors():
    truth, law = parts("softmax-gaussian-over")
    with pytest.raises(ValueError, match="no parameter 'slope'"):
        population_exponent(truth, x=law, component="slope")
    with pytest.raises(ValueError, match="sizes must descend"):
        population_exponent(truth, x=law, sizes=(0.1, 0.2))
    poisson = ms.ConditionalMixture("softmax", "poisson", {
        "gate_coef": [[1.0], [0.0]], "gate_intercept": [0.0, 0.0], "expert_coef": [[1.0], [-1.0]], "expert_intercept": [0.0, 1.0],
    })  # fmt: skip
    with pytest.raises(ValueError, match="one continuous response or classes"):
        population_exponent(poisson, x=law)
