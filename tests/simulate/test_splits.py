"""Splits under gates whose weights are shared in ways of their own: shared experts, sigmoids, trees, top-k, known experts."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

import moestat as ms
from moestat.divergences import hellinger
from moestat.simulate import build_law, build_truth, load_scenario, population_exponent
from moestat.simulate.copies import copy_expert
from moestat.simulate.exponents import _atoms, scenario_exponents
from moestat.simulate.nodes import nodes_of
from moestat.simulate.population import _row_of
from moestat.simulate.splits import split_atom

KNOWN = {"deviated": (0,)}


def parts(name):
    if name == "laplace-tree":
        return laplace_tree(), ms.distributions.Uniform(-2.0, 2.0)
    if name == "two-shared":
        return two_shared(), ms.distributions.Uniform(-2.0, 2.0)
    scenario = load_scenario(name)
    return build_truth(scenario), build_law(scenario)


def laplace_tree():
    return ms.ConditionalMixture(ms.gates.HierarchicalGate([[0, 1], 2], levels="laplace"), "gaussian", {
        "gate_location": [[-1.0], [1.0], [0.5], [-0.5]], "gate_intercept": [0.2, 0.0, -0.3, 0.0],
        "expert_coef": [[-2.0], [1.0], [2.0]], "expert_intercept": [1.0, -1.0, 0.5], "expert_scale": [0.3, 0.4, 0.3],
    })  # fmt: skip


def two_shared():
    return ms.ConditionalMixture(ms.gates.SharedExperts(2, weight="gated"), "gaussian", {
        "block_intercept": 0.2, "block_coef": [0.7], "shared_intercept": [0.4, 0.0],
        "gate_coef": [[1.5], [0.0]], "gate_intercept": [-0.3, 0.0], "expert_coef": [[1.0], [-1.0], [2.0], [-2.0]],
        "expert_intercept": [2.0, -2.0, 0.0, 1.0], "expert_scale": [0.3, 0.4, 0.3, 0.4],
    })  # fmt: skip


CASES = [
    ("deepseek-1", 0), ("deepseek-1", 2), ("deepseek-3", 1), ("two-shared", 1), ("two-shared", 3), ("sigmoid-regime-1", 1),
    ("topk-gaussian", 2), ("hierarchical", 3), ("laplace-tree", 0), ("laplace-tree", 2), ("deviated", 2),
]  # fmt: skip


@pytest.mark.parametrize("atoms", [1, 3])
@pytest.mark.parametrize(("name", "split"), CASES)
def test_equal_copies_are_the_truth(name, split, atoms):
    truth, law = parts(name)
    model = split_atom(truth, split, atoms, KNOWN.get(name, ()))
    assert model.exact
    same = model.at(np.zeros(model.n_params), 0, 0.0)
    assert same.n_experts == truth.n_experts + atoms - 1
    assert np.abs(nodes_of(truth, law).residuals(same)).max() < 1e-14
    moved = model.at(np.zeros(model.n_params), model.names.index("expert:x1"), 0.3).params["expert_coef"]
    copies = [k for k, true in enumerate(copy_expert(truth, split, atoms).origin) if true == split]
    first = moved[copies[0]] - (moved[copies[-1]] if atoms > 1 else truth.params["expert_coef"][split])
    assert first == pytest.approx(0.3)


@pytest.mark.parametrize(("name", "split"), CASES[::2])
def test_jacobians_against_differences(name, split):
    truth, law = parts(name)
    model, nodes = split_atom(truth, split, 2, KNOWN.get(name, ())), nodes_of(truth, law)
    u, step = 0.1 * np.random.default_rng(0).standard_normal(model.n_params), 1e-6
    here = nodes.jacobian(model.at(u, 0, 0.2)) @ model.derivative(u, 0, 0.2)
    for i, row in enumerate(np.eye(u.size)):
        ahead, behind = (nodes.residuals(model.at(u + sign * step * row, 0, 0.2)) for sign in (1, -1))
        np.testing.assert_allclose(here[:, i], (ahead - behind) / (2 * step), atol=2e-8)


@pytest.mark.parametrize(
    ("name", "split"),
    [("deepseek-1", 0), ("deepseek-3", 1), ("topk-gaussian", 2), ("hierarchical", 1), ("deviated", 1)],
)
def test_distances_at_nodes_are_hellinger_distances(name, split):
    truth, law = parts(name)
    model = split_atom(truth, split, 2, KNOWN.get(name, ()))
    u = 0.2 * np.random.default_rng(1).standard_normal(model.n_params)
    other = model.at(u, _row_of(model, "coef"), 0.3)
    squares = nodes_of(truth, law).residuals(other) ** 2
    assert math.sqrt(squares.sum()) == pytest.approx(hellinger(truth, other, x=law).value, rel=2e-3)


def test_weights_are_shared():
    truth, _ = parts("deepseek-2")
    X = np.linspace(-2.0, 2.0, 5)[:, None]
    before = truth.gate_proba(X)
    for split, copies in [(0, [0, 1]), (2, [1, 2])]:
        model = split_atom(truth, split, 2)
        u = np.zeros(model.n_params)
        u[-1 if len(model.weights) < 2 else -2] = 0.4  # the ratio of the shares
        weight = model.at(u, 0, 0.0).gate_proba(X)[:, copies]
        np.testing.assert_allclose(weight.sum(axis=1), before[:, split], rtol=1e-12)
        np.testing.assert_allclose(np.log(weight[:, 0] / weight[:, 1]), 1.5 * np.tanh(0.4), rtol=1e-12)
    sigmoid = split_atom(parts("sigmoid-regime-1")[0], 0, 3)
    u = np.zeros(sigmoid.n_params)
    u[-3] = 0.4
    weight = expit(sigmoid.at(u, 0, 0.0).params["gate_intercept"][:3])
    assert weight.sum() == pytest.approx(expit(-0.5), rel=1e-12)
    assert weight[1] == pytest.approx(weight[2])


# Nguyen et al. (2025), On DeepSeekMoE, theorems 1 (tanh experts) and 2 (linear ones); Nguyen, Ho and Rinaldo (2024) for sigmoids
@pytest.mark.parametrize(
    ("name", "split", "component", "sizes", "expected"),
    [
        ("deepseek-1", 0, "coef", (0.08, 0.04, 0.02), 2),
        ("deepseek-1", 0, "intercept", (0.08, 0.04, 0.02), 2),
        ("deepseek-1", 1, "intercept", (0.04, 0.02, 0.01), 2),
        ("deepseek-2", 0, "intercept", (0.2, 0.1, 0.05), 4),
        ("deepseek-2", 0, "coef", (0.08, 0.04, 0.02), 2),
        ("deepseek-2", 1, "scale", (0.08, 0.04, 0.02), 2),
        ("sigmoid-regime-1", 0, "gate", (0.04, 0.02), 2),
        ("topk-gaussian", 2, "coef", (0.08, 0.04, 0.02), 2),
        ("topk-gaussian", 2, "intercept", (0.2, 0.1, 0.05), 4),
        ("hierarchical", 3, "coef", (0.08, 0.04, 0.02), 2),
        ("deviated", 1, "intercept", (0.2, 0.1, 0.05), 4),
        ("deviated", 2, "scale", (0.08, 0.04, 0.02), 2),
    ],
)
def test_exponents_of_the_theorems(name, split, component, sizes, expected):
    truth, law = parts(name)
    found = population_exponent(
        truth, x=law, component=component, split=split, sizes=sizes, n_starts=1, known=KNOWN.get(name, ())
    )
    assert found.steady
    assert found.exponent == pytest.approx(expected, abs=0.1)
    assert found.floor == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "split", "component", "atoms", "expected"),
    [
        ("deepseek-2", 0, "intercept", 3, 6),
        ("deepseek-2", 1, "gate", 3, 2),  # 6 in the published loss
        ("deepseek-2", 1, "scale", 3, 3),
        ("deepseek-3", 1, "gate", 2, 2),
        ("deepseek-3", 1, "coef", 2, 2),
        ("sigmoid-regime-1", 1, "coef", 2, 2),
        ("hierarchical", 0, "intercept", 2, 4),
        ("laplace-tree", 0, "gate", 2, 1.5),
        ("deviated", 1, "intercept", 3, 6),
    ],
)
def test_exponents_of_further_models(name, split, component, atoms, expected):
    truth, law = parts(name)
    known = KNOWN.get(name, ())
    sizes = (0.4, 0.28, 0.2) if atoms > 2 else None
    found = population_exponent(truth, x=law, component=component, split=split, atoms=atoms, known=known, sizes=sizes)
    assert found.exponent == pytest.approx(expected, abs=0.25)


@pytest.mark.parametrize(
    ("name", "component", "split"),
    [("hierarchical", "gate", 3), ("sigmoid-regime-2", "gate:Intercept", 0), ("softmax-gaussian-exact", "scale", 1)],
)
def test_the_true_number_of_experts_has_exponent_one(name, component, split):
    truth, law = parts(name)
    found = population_exponent(
        truth, x=law, component=component, split=split, atoms=1, sizes=(0.04, 0.02, 0.01), n_starts=1
    )
    assert found.exponent == pytest.approx(1.0, abs=0.05)
    assert found.steady


def test_the_norm_of_a_cosine_gate_is_not_identified():
    truth, law = parts("cosine")
    found = population_exponent(truth, x=law, component="gate", atoms=1, sizes=(0.1, 0.05), n_starts=1)
    assert not found.identified


def test_pseudo_true_functions_of_sigmoid_gates():
    truth, law = parts("sigmoid-regime-2")
    found = population_exponent(truth, x=law, component="coef", split=1, sizes=(0.02, 0.01, 0.005))
    assert found.exponent == pytest.approx(1.0, abs=0.05)
    assert "beyond the smallest distance" in str(found)
    assert found.floor == pytest.approx(smallest_distance(truth), rel=2e-3)


def smallest_distance(truth):
    """The L2 distance of the nearest function with three sigmoids in the box, by other code, another optimiser and a finer rule."""
    x, weight = np.polynomial.legendre.leggauss(40)
    x, weight = 3.0 * x, weight / 2.0
    p = truth.params
    entries = (p["gate_intercept"], p["gate_coef"][:, 0], p["expert_intercept"], p["expert_coef"][:, 0])
    gate, mean = (lambda b0, b1, *_: expit(b0 + b1 * x)), (lambda b0, b1, a0, a1: np.tanh(a0 + a1 * x))
    target = (gate(*np.array(entries)[:, :, None]) * mean(*np.array(entries)[:, :, None])).sum(axis=0)

    def square(theta):
        rows = theta.reshape(4, 3, 1)
        g, h = gate(*rows), mean(*rows)
        error = (g * h).sum(axis=0) - target
        slopes = [2e4 * weight * error * d * q for d in (g * (1 - g) * h, g * (1 - h * h)) for q in (1.0, x)]
        return 1e4 * weight @ error**2, np.concatenate([slope.sum(axis=1) for slope in slopes])

    middle = np.array([entry[[1, 1, 0]] for entry in entries])
    middle[0, :2] = np.log(expit(p["gate_intercept"][1]) / (2.0 - expit(p["gate_intercept"][1])))  # half of the weight
    middle, rng = middle.ravel(), np.random.default_rng(3)
    options = {"maxiter": 3000, "ftol": 1e-13, "gtol": 1e-10}
    bounds = [(m - 1.0, m + 1.0) for m in middle]
    starts = (middle + rng.uniform(-0.9, 0.9, 12) for _ in range(40))
    ends = [
        minimize(square, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).fun for start in starts
    ]
    return 1e-2 * math.sqrt(min(ends))


@pytest.mark.slow
@pytest.mark.parametrize("component", ["gate", "coef"])
def test_pseudo_true_densities_of_normalised_sigmoids(component):
    truth, law = parts("deepseek-4")  # theorem 4: routed experts at n^(-1/2)
    found = population_exponent(truth, x=law, component=component, split=1)
    assert found.floor > 1e-3
    assert found.exponent == pytest.approx(1.0, abs=0.1)


def test_fits_of_scenarios_say_how_many_atoms():
    rows = list(scenario_exponents(load_scenario("deviated"), components=["scale"], splits=[0, 2]))
    assert [(row.split, row.found.atoms) for row in rows] == [(2, 2)]  # the first expert is known
    scenario = load_scenario("deepseek-2")  # the larger fit has one more shared expert and one more routed one
    assert [_atoms(scenario, build_truth(scenario), split) for split in range(3)] == [2, 2, 2]
    with pytest.raises(ValueError, match="no parameter 'gate'"):
        list(scenario_exponents(scenario, components=["gate"], splits=[0]))


@pytest.mark.parametrize(
    ("name", "split", "reason"),
    [
        ("topk-gaussian", 0, "split one that is active everywhere"),
        ("deepseek-3", 2, "an expert whose gate is constant"),
        ("deviated", 0, "this expert is known"),
    ],
)
def test_refusals(name, split, reason):
    truth, law = parts(name)
    with pytest.raises(ValueError, match=reason):
        population_exponent(truth, x=law, split=split, known=KNOWN.get(name, ()))
    with pytest.raises(ValueError, match=reason):
        next(scenario_exponents(load_scenario(name), splits=[split], components=["coef"]))


def test_sizes_around_a_nearest_density_stay_in_its_box():
    truth, law = parts("sigmoid-regime-2")
    with pytest.raises(ValueError, match="at most the box's half-width"):
        population_exponent(truth, x=law, sizes=(0.2, 0.1), box=0.1)


def test_linear_experts_of_sigmoids_are_not_identified():
    truth, law = parts("sigmoid-regime-2")  # two experts of one gate: only the sum of their slopes shows
    params = {key: value for key, value in truth.params.items() if key in {"gate_coef", "gate_intercept"}}
    params |= {"expert_coef": [[1.0], [-1.0]], "expert_intercept": [0.5, 0.3]}
    linear = ms.RegressionFunction("sigmoid", "gaussian", params)
    found = population_exponent(linear, x=law, component="coef", sizes=(0.04, 0.02), n_starts=1)
    assert found.floor == 0
    assert not found.identified


def test_an_expert_that_cannot_be_moved():
    truth, law = parts("activation-temperature")
    with pytest.raises(ValueError, match="cannot be moved to the front"):
        population_exponent(truth, x=law, split=1)
