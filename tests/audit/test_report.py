"""The audit as a whole: what it finds on models of which the theory knows, and that it stands every gate and expert."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import moestat as ms
from moestat.audit import cells, twins
from moestat.audit.curves import Probe
from moestat.audit.points import law_of, points_of, responses
from moestat.experts.nonlinear import NonlinearExpert
from moestat.registry import GATES

LINES: dict[str, Any] = {"expert_coef": [[-2.0], [2.0]], "expert_intercept": [1.0, -1.0]}
GAUSSIAN: dict[str, Any] = LINES | {"expert_scale": [0.5, 0.4]}
SLOPES: dict[str, Any] = {"gate_coef": [[1.3], [0.0]], "gate_intercept": [0.5, 0.0]}
PLACES: dict[str, Any] = {"gate_location": [[0.6], [-0.5]], "gate_intercept": [0.5, 0.0]}
CLUSTERS: dict[str, Any] = {
    "gate_weight": [0.4, 0.6], "gate_location": [[0.3], [-0.2]], "gate_covariance": [[[0.2]], [[0.3]]],
}  # fmt: skip
PLANES: dict[str, Any] = {**GAUSSIAN, "expert_coef": [[-2.0, 1.0], [2.0, 0.0]]}


def powers(report: ms.audit.IdentifiabilityReport, m: int = 2) -> dict[str, float]:
    """Exponents in cells of m atoms."""
    return {name: rate.over[m - 2] for name, rate in report.rates.items()}


# -- rates ----------------------------------------------------------------------------------------------------------------


def test_softmax_gaussian_has_the_sharp_rates() -> None:
    report = ms.identifiability(ms.ConditionalMixture(params=SLOPES | GAUSSIAN), 3)
    assert report.regular
    assert report.identified
    assert report.strength == "weak"
    assert report.extended is None
    assert report.atoms[0].relations == (
        "∂²f/∂b² = 2 ∂f/∂ν",
        "∂²f/∂β[x1]∂b = ∂f/∂a[x1]",
        "∂²f/∂β[x1]∂ν = 0.5 ∂²f/∂b∂a[x1]",
    )
    assert powers(report) == {"gate": -1 / 4, "intercepts b": -1 / 8, "slopes a": -1 / 4, "variances ν": -1 / 4}
    assert {rate.exact for rate in report.rates.values()} == {-0.5}
    largest = ms.identifiability(ms.ConditionalMixture("laplace", params=PLACES | GAUSSIAN), 5)
    assert powers(largest, 4) == {"gate": -1 / 4, "intercepts b": -1 / 16, "slopes a": -1 / 4, "variances ν": -1 / 8}


def test_the_gaussian_gate_is_of_type_two_everywhere() -> None:
    """The joint density is translation invariant in x: slopes are slow, whatever the location."""
    report = ms.identifiability(ms.ConditionalMixture("gaussian", params=CLUSTERS | GAUSSIAN), 4)
    assert report.regular
    assert powers(report, 3) == {"gate": -1 / 12, "intercepts b": -1 / 12, "slopes a": -1 / 6, "variances ν": -1 / 6}
    atom = report.atoms[0]
    assert [atom.names[i] for i in atom.hidden.slow] == ["location[x1]", "b"]
    assert [atom.names[i] for i in atom.hidden.partners] == ["log_scale[x1]", "a[x1]", "ν"]


@pytest.mark.parametrize(
    ("expert", "extra"),
    [("poisson", {}), ("gamma", {"expert_shape": [2.0, 3.0]}), (NonlinearExpert(), {"expert_scale": [0.5, 0.4], "expert_output": [1.0, 2.0]}),
     ("binomial", {})],
)  # fmt: skip
def test_strongly_identifiable_experts(expert: Any, extra: dict[str, Any]) -> None:
    report = ms.identifiability(ms.ConditionalMixture("softmax", expert, SLOPES | LINES | extra), 3)
    assert report.strength == "strong"
    assert set(powers(report).values()) == {-0.25}


@pytest.mark.parametrize(("name", "order"), [("b", 4), ("a[x1]", 2)])
def test_exponents_of_a_split_cell(name: str, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least difference of two atoms that are ε apart from the one in their place grows as ε^r̄ in b, as ε² in a slope."""
    model = ms.ConditionalMixture("laplace", params=PLACES | GAUSSIAN)
    rng = np.random.default_rng(0)
    X, y = points_of(model, 0, law_of(model, None), 300, rng)
    probe = Probe(model, X, responses(model, X, rng))
    report = ms.identifiability(model, 3).atoms[0]
    direction = np.eye(3)[report.names[2 - 1 :].index(name)]
    gaps = []
    for split in (0.4, 0.2):
        monkeypatch.setattr(twins, "SPLIT", split)
        cell = twins.Cell(probe, 0, X, y)
        moves = cell.part(direction)[1]
        w = np.exp(cell.part(direction)[2])
        residual = w @ np.stack([cell.value(move) for move in moves]) - cell.target
        gaps.append(float(np.sqrt((residual**2).mean())))
    assert np.log2(gaps[0] / gaps[1]) == pytest.approx(order, abs=0.35)


# -- what is not identified -----------------------------------------------------------------------------------------------


def exact(report: ms.audit.IdentifiabilityReport) -> dict[str, float]:
    """Gaps of the twins that are the same model."""
    return {twin.name: twin.gap for twin in report.twins if twin.exact}


@pytest.mark.parametrize(
    ("gate", "params"),
    [("softmax", SLOPES), (ms.gates.SoftmaxGate(transform="tanh"), SLOPES), (ms.gates.SoftmaxGate(temperature=0.5), SLOPES),
     ("quadratic_monomial", SLOPES), (ms.gates.TopKGate(1), SLOPES)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("fitted", [4, 5])
def test_extended_gauge(gate: Any, params: dict[str, Any], fitted: int) -> None:
    truth = ms.ConditionalMixture(gate, params=params | GAUSSIAN)
    report = ms.identifiability(truth, fitted)
    assert report.extended is not None
    assert report.extended.gap < 1e-14
    assert not report.identified
    assert report.rates["gate"].law == "not identified"
    twin = report.extended.model
    assert twin is not None
    assert twin.n_experts == fitted
    X = np.linspace(-1.0, 1.0, 40)[:, None]
    np.testing.assert_allclose(twin.log_density(X, X[:, 0]), truth.log_density(X, X[:, 0]), rtol=1e-13, atol=1e-13)
    assert ms.identifiability(truth, 3).extended is None


@pytest.mark.parametrize(
    ("gate", "params"), [("laplace", PLACES), ("normalized_sigmoid", SLOPES), ("gaussian", CLUSTERS)]
)
def test_gates_without_an_extended_gauge(gate: str, params: dict[str, Any]) -> None:
    report = ms.identifiability(ms.ConditionalMixture(gate, params=params | GAUSSIAN), 4)
    assert report.extended is not None
    assert report.extended.gap > 0.02
    assert report.identified


def test_temperature_is_known_or_not_identified() -> None:
    report = ms.identifiability(ms.ConditionalMixture(ms.gates.SoftmaxGate(temperature=0.5), params=SLOPES | GAUSSIAN))
    assert exact(report)["slopes, intercepts and temperature times two"] < 1e-15
    assert report.identified  # as it is known
    free = {**SLOPES, "gate_temperature": 0.7}
    assert ms.identifiability(ms.ConditionalMixture("activation", params=free | GAUSSIAN)).regular


def test_cosine_lengths_are_curves() -> None:
    slopes = {"gate_coef": [[1.0, 0.4], [-0.5, 0.8]], "gate_intercept": [0.5, 0.0]}
    report = ms.identifiability(ms.ConditionalMixture("cosine", params=slopes | PLANES))
    assert (report.gauge.pinned, report.gauge.left) == (1, 2)
    assert [curve.exact for curve in report.curves] == [True, True]
    assert max(exact(report).values()) < 1e-14
    for curve in report.curves:  # along the slopes themselves
        k = int(next(iter(curve.direction))[5]) - 1
        along = np.array([list(curve.direction.values()), slopes["gate_coef"][k]])
        assert abs(np.linalg.det(along)) < 1e-9
    assert report.rates["gate"].exact == 0.0
    perturbed = ms.identifiability(ms.ConditionalMixture("perturbed_cosine", params=slopes | PLANES))
    assert perturbed.gauge.left == 2
    assert all(curve.exact for curve in perturbed.curves)


@pytest.mark.parametrize(
    ("slopes", "lost", "kept"),
    [([[0.0], [0.0]], {"intercepts b": 0.0}, "slopes a"), ([[1.5], [1.5]], {"intercepts b": 0.0, "slopes a": -0.25}, "gate"),
     ([[1.5], [0.0]], {"intercepts b": 0.0}, "gate"), ([[1.5], [1.0]], {"intercepts b": -0.25}, "gate")],
)  # fmt: skip
def test_multinomial_cells(slopes: list[list[float]], lost: dict[str, float], kept: str) -> None:
    """Identified if and only if the slopes of all classes, the last one's zero among them, are distinct."""
    experts = {"expert_coef": [slopes, [[1.0], [2.0]]], "expert_intercept": [[0.3, 0.2], [1.0, 2.0]]}
    report = ms.identifiability(ms.ConditionalMixture("softmax", "multinomial", SLOPES | experts), 3)
    found = powers(report)
    assert {name: found[name] for name in lost} == lost
    assert report.identified == (lost["intercepts b"] != 0.0)
    assert found["gate"] == -0.25
    assert report.regular
    assert all(value < 1e-14 for value in exact(report).values())
    assert kept in found


def test_bernoulli_experts_without_slope() -> None:
    flat = {**LINES, "expert_coef": [[0.0], [2.0]]}
    report = ms.identifiability(ms.ConditionalMixture("softmax", "binomial", SLOPES | flat), 3)
    assert exact(report).keys() == {"expert 1 split in two along b"}


def test_least_squares() -> None:
    linear = ms.identifiability(ms.RegressionFunction(params=SLOPES | LINES), 3)
    assert not linear.identified
    assert powers(linear) == {"gate": -0.25, "intercepts b": 0.0, "slopes a": 0.0}
    assert max(exact(linear).values()) < 2e-15
    assert "∂²h/∂b² = 0" in linear.atoms[0].relations
    ridge = ms.identifiability(ms.RegressionFunction(expert=NonlinearExpert(output=False), params=SLOPES | LINES), 3)
    assert ridge.strength == "strong"
    assert ridge.identified
    output = {"expert_output": [1.0, 2.0]}
    weighted = ms.identifiability(ms.RegressionFunction(expert=NonlinearExpert(), params=SLOPES | LINES | output), 3)
    assert powers(weighted) == {"gate": -0.25, "intercepts b": -0.25, "slopes a": -0.25, "output": 0.0}
    sigmoid = ms.identifiability(ms.RegressionFunction("sigmoid", params=SLOPES | LINES), 3)
    assert exact(sigmoid)["expert 1 as the sum of two behind its gate"] < 2e-15
    assert sigmoid.rates["gate"].law.startswith("-1/2")


def test_relu_scale_is_a_curve() -> None:
    params = SLOPES | GAUSSIAN | {"expert_output": [1.0, 2.0]}
    report = ms.identifiability(ms.ConditionalMixture("softmax", NonlinearExpert(activation="relu"), params))
    assert report.information.n_functions - report.information.rank == 2
    assert all(curve.exact and curve.gap < 3e-14 for curve in report.curves)
    for curve in report.curves:
        end = curve.model.params
        scale = np.asarray(end["expert_coef"])[:, 0] / [-2.0, 2.0]
        np.testing.assert_allclose(end["expert_output"] * scale, [1.0, 2.0], rtol=1e-9)
        assert np.abs(scale - 1.0).max() > 0.1
    assert report.strength == "none"
    assert report.atoms[0].relations[0].startswith("∂f/∂output")
    assert report.rates["variances ν"].exact == -0.5
    assert report.rates["slopes a"].exact == 0.0


def test_an_over_specified_truth_is_singular() -> None:
    """Two equal experts: the difference of their gates is a curve, those of their parameters are not."""
    twice = {name: [value[0], value[0]] for name, value in GAUSSIAN.items()}
    report = ms.identifiability(ms.ConditionalMixture(params=SLOPES | twice))
    assert report.information.n_functions - report.information.rank >= 2
    kinds = {tuple(sorted(curve.direction)): curve.exact for curve in report.curves}
    assert kinds[("gate[1]:Intercept",)]
    assert kinds[("gate[1]:x1",)]
    assert not report.identified


def test_a_singular_point_that_is_no_curve() -> None:
    """A skew normal expert of shape zero: the shape is seen at third order only."""
    params = {**GAUSSIAN, "expert_shape": [0.0, 2.0]}
    report = ms.identifiability(ms.ConditionalMixture("softmax", "skew_normal", SLOPES | params))
    assert not report.regular
    assert [curve.exact for curve in report.curves] == [False]
    assert report.curves[0].order == pytest.approx(3.0, abs=0.2)
    assert "singular" in report.verdict


# -- the door, the table, every gate --------------------------------------------------------------------------------------


def test_it_refuses() -> None:
    truth = ms.ConditionalMixture(params=SLOPES | GAUSSIAN)
    with pytest.raises(ValueError, match="at least 2"):
        ms.identifiability(truth, 1)
    with pytest.raises(ValueError, match=r"n_experts_fitted=2\.5"):
        ms.identifiability(truth, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x has 2 features; the model has 1"):
        ms.identifiability(truth, x=np.zeros((5, 2)))
    with pytest.raises(ValueError, match="do not sum to one"):
        ms.identifiability(ms.ConditionalMixture("sigmoid", params=SLOPES | GAUSSIAN))


def test_points_do_not_matter() -> None:
    truth = ms.ConditionalMixture(params=SLOPES | GAUSSIAN)
    X = np.random.default_rng(3).normal(2.0, 1.0, (50, 1))
    for x in (None, X, ms.distributions.Normal([0.5], 2.0)):
        report = ms.identifiability(truth, 4, x, rng=7)
        assert [atom.second.rank for atom in report.atoms] == [12, 12]
        assert report.information.full
        assert report.extended is not None
        assert report.extended.exact


def test_the_table() -> None:
    text = str(ms.identifiability(ms.ConditionalMixture(params=SLOPES | GAUSSIAN), 4))
    lines = text.splitlines()
    assert lines[0] == "Identifiability of a density: gate softmax, expert gaussian, k* = 2, k = 4"
    assert max(map(len, lines)) <= 125
    assert "∂²f/∂b² = 2 ∂f/∂ν" in text
    assert lines[-1].startswith("verdict         the parameters are not identified: every expert split in two")


OWN: dict[str, dict[str, Any]] = {
    "laplace": {"gate_location": [[0.6, 0.1], [-0.5, 0.3]], "gate_intercept": [0.5, 0.0]},
    "gaussian": {"gate_weight": [0.4, 0.6], "gate_location": [[0.6, 0.1], [-0.5, 0.3]], "gate_covariance": [np.eye(2)] * 2},
    "constant": {"gate_intercept": [0.5, 0.0]},
    "quadratic": {"gate_coef": [[1.0, -1.0, 0.5, 0.2, 0.1], [0.0] * 5], "gate_intercept": [0.5, 0.0]},
    "quadratic_monomial": {"gate_coef": [[1.0, -1.0, 0.5], [0.0] * 3], "gate_intercept": [0.5, 0.0]},
    "shared": {"gate_coef": [[0.0, 0.0]], "gate_intercept": [0.0], "shared_intercept": [0.0]},
    "cosine": {"gate_coef": [[1.0, -0.5], [0.3, 0.8]], "gate_intercept": [0.5, 0.0]},
    "activation": {"gate_coef": [[1.0, -0.5], [0.0, 0.0]], "gate_intercept": [0.5, 0.0], "gate_temperature": 0.8},
}  # fmt: skip


@pytest.mark.parametrize("name", GATES)
def test_every_gate(name: str) -> None:
    gate = GATES[name]()
    params = OWN.get(name, {"gate_coef": [[1.0, -0.5], [0.0, 0.0]], "gate_intercept": [0.5, 0.0]})
    if gate.normalised:
        truth: Any = ms.ConditionalMixture(gate, params=params | PLANES)
    else:
        lines = {key: value for key, value in PLANES.items() if key != "expert_scale"}
        truth = ms.RegressionFunction(gate, params=params | lines)
    report = ms.identifiability(truth, 4)
    singular = report.information.n_functions - report.information.rank
    if gate.normalised and not hasattr(gate, "mask"):
        assert report.gauge.left == singular
    assert report.gauge.dimension == report.gauge.left + report.gauge.pinned
    assert report.gauge.pinned == {
        "softmax": 3,
        "quadratic": 6,
        "quadratic_monomial": 4,
        "laplace": 1,
        "sigmoid": 0,
    }.get(name, report.gauge.pinned)
    assert {atom.strength for atom in report.atoms} <= {"strong", "weak", "none"}
    assert report.atoms[0].second.n_functions < cells.N_COLUMNS
    assert str(report)
