"""The mixing measure of every gate and expert: labels and gauge are immaterial, and the loss of the setting is zero at it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import moestat as ms
from moestat import gates as g
from moestat.losses import HierarchicalMeasure, SharedMeasure, voronoi_loss

from . import family
from .family import Case, every_case

# The kind of the setting, where it is not that of the softmax; `D1` is for any measure of one level.
KINDS = {
    "normalized_sigmoid": "D1",
    "quadratic": "quadratic-polynomial-D2",
    "quadratic_monomial": "quadratic-monomial-D2",
    "laplace": "laplace-D1",
    "gaussian": "gaussian-gate-D1",
    "cosine": "cosine-L2",
    "perturbed_cosine": "perturbed-cosine-L2",
    "activation": "activation-D2",
    "hierarchical": "hierarchical-D1",
    "prototype": "hierarchical-D1",
    "shared": "deepseek-D1",
    "topk": "topk-D1",
}


def kind_of(case: Case) -> tuple[str, dict[str, Any]]:
    """The loss of a setting, and its options."""
    gate = case.gate
    kind = KINDS.get(gate.name, "D1")
    if case.expert.name not in ("gaussian", "laplace") and kind not in ("deepseek-D1", "hierarchical-D1"):
        return "strong-D1", {}
    if getattr(gate, "likelihood", "joint") == "conditional":
        return "quadratic-polynomial-D2", {}
    if getattr(gate, "temperature", None) is not None and gate.name == "softmax" and gate.temperature != 1.0:
        return "temperature-D1", {}
    return (kind, {"n_active": gate.k}) if kind.startswith("topk") else (kind, {})


def measured(case: Case) -> Any:
    """The measure of the case's mixture, or a skipped test where there is none."""
    try:
        return family.mixture(case).mixing_measure()
    except ValueError as refusal:
        assert "no mixing measure" in str(refusal)  # noqa: PT017
        pytest.skip(str(refusal))


@every_case
def test_canonical_and_permuted_mixtures_have_the_same_measure(case: Case) -> None:
    m, measure = family.mixture(case), measured(case)
    kind, options = kind_of(case)
    others = [m.canonical().mixing_measure()]
    for order in ([1, 0, 2], [2, 0, 1]):
        try:
            others.append(m.permuted(order).mixing_measure())
        except ValueError:
            continue  # the gate says that the order is part of the model
    for other in others:
        assert voronoi_loss(other, measure, kind, **options).value < 1e-12
        assert voronoi_loss(measure, other, kind, **options).value < 1e-12


@every_case
def test_the_loss_of_the_setting_sees_every_parameter(case: Case) -> None:
    """Zero at the truth; a move of any free parameter that the density sees is seen."""
    m, measure = family.mixture(case), measured(case)
    kind, options = kind_of(case)
    assert voronoi_loss(measure, measure, kind, **options).value < 1e-13
    if getattr(case.gate, "likelihood", "joint") == "conditional":
        return  # its parameters are not identified one by one
    theta = m.free_vector()
    X, y = family.data(case, 40)
    for j, name in enumerate(m.free_names()):
        if kind.endswith(("L2", "L1")) and "scale" in name:
            continue  # least squares leaves the noise out
        moved = m.with_free_vector(theta + 0.01 * np.eye(len(theta))[j])
        assert voronoi_loss(moved.mixing_measure(), measure, kind, **options).value > 1e-5, name
        if case.smooth:
            assert np.abs(moved.log_density(X, y) - m.log_density(X, y)).max() > 0.0


@pytest.mark.parametrize("case", [c for c in family.CASES if c.gate.name in ("softmax", "topk", "quadratic")], ids=str)
def test_a_shift_of_the_parameters_is_no_shift_of_the_measure(case: Case) -> None:
    m, measure = family.mixture(case), measured(case)
    shifted = {
        key: value + 0.7 * (value.ndim + np.arange(value.shape[-1]) * (value.ndim > 1))
        if key.startswith("gate")
        else value
        for key, value in m.params.items()
    }
    again = ms.ConditionalMixture(case.gate, case.expert, shifted, n_features=family.N_FEATURES).mixing_measure()
    np.testing.assert_allclose(again.weights, measure.weights, rtol=1e-13)
    for name, block in measure.atoms.items():
        np.testing.assert_allclose(again.atoms[name], block, rtol=1e-12, atol=1e-12)


def at_origin(measure: ms.MixingMeasure, gate: Any) -> np.ndarray[Any, Any]:
    """Shares of the atoms at x = 0: their weights, but for the distances of a Laplace gate."""
    weights = measure.weights
    if "laplace" in (gate.name, *np.atleast_1d(getattr(gate, "levels", ()))) and measure.gauge == "weights":
        weights = weights * np.exp(-np.sqrt((measure.atoms["gate"] ** 2).sum(axis=1) + gate.smoothing**2))
    return weights / weights.sum()


@pytest.mark.parametrize("gate", family.GATE_LIST, ids=repr)
def test_weights_are_those_of_the_gate_at_the_origin(gate: Any) -> None:
    """Where slopes have no part in the scores the weights of the measure are those of the density, up to their sum."""
    case = Case(gate, ms.experts.GaussianExpert())
    m, measure = family.mixture(case), measured(case)
    if hasattr(gate, "mask"):
        m = ms.ConditionalMixture._from_internal(
            family.replace(m.layout, gate=gate.dense()), m.internal, (m.gate_map, m.expert_map), 2, True
        )
    proba = m.gate_proba(np.zeros((1, 2)))[0]
    if isinstance(measure, SharedMeasure):
        shared, routed = measure.shared.weights, measure.routed.weights
        np.testing.assert_allclose(shared.sum(), 1.0, rtol=1e-14)
        weights = np.r_[measure.weight * shared, (1.0 - measure.weight) * routed / routed.sum()]
    elif isinstance(measure, HierarchicalMeasure):
        outer = at_origin(measure.outer, gate)
        weights = np.concatenate([w * at_origin(c, gate) for w, c in zip(outer, measure.children, strict=True)])
    else:
        weights = at_origin(measure, gate)
    if gate.name == "gaussian" and gate.joint:
        np.testing.assert_allclose(measure.weights.sum(), 1.0, rtol=1e-14)
        c, cov = measure.atoms["gate_location"], measure.atoms["gate_covariance"]
        square = np.einsum("ki,kij,kj->k", c, np.linalg.inv(cov), c)
        weights = weights * np.exp(-0.5 * square) / np.sqrt(np.linalg.det(cov))
    if gate.name == "normalized_sigmoid":
        np.testing.assert_allclose(measure.weights, 1.0 / (1.0 + np.exp(-m.params["gate_intercept"])), rtol=1e-14)
    np.testing.assert_allclose(weights / weights.sum(), proba, rtol=1e-12)


def test_blocks_by_name() -> None:
    rng = np.random.default_rng(0)
    params = {
        "gate_intercept": [0.3, 0.0],
        "gate_coef": np.r_[rng.normal(size=(1, 5)), np.zeros((1, 5))],
        "expert_intercept": rng.normal(size=(2, 2)),
        "expert_coef": rng.normal(size=(2, 2, 2)),
    }
    measure = ms.ConditionalMixture("quadratic", ms.experts.MultinomialExpert(), params).mixing_measure()
    assert {name: block.shape for name, block in measure.atoms.items()} == {
        "gate": (2, 2), "gate_quadratic": (2, 2, 2), "coef": (2, 2, 2), "intercept": (2, 2),
    }  # fmt: skip
    square = measure.atoms["gate_quadratic"][0]
    np.testing.assert_array_equal(square, square.T)
    x = np.array([0.3, -0.8])
    score = params["gate_coef"][0] @ [x[0], x[1], x[0] ** 2, x[0] * x[1], x[1] ** 2]
    np.testing.assert_allclose(x @ square @ x + measure.atoms["gate"][0] @ x, score, rtol=1e-14)
    assert voronoi_loss(measure, measure, "multinomial-D2r", r=3.0).value == 0.0


@pytest.mark.parametrize("gate", ["softmax", "sigmoid", "hierarchical"])
def test_regression_functions_have_one(gate: str) -> None:
    params = {"gate_intercept": [0.3, 0.0], "gate_coef": [[1.2], [0.0]], "expert_output": [2.0, -1.0]}
    params |= {"expert_coef": [[1.5], [-0.7]], "expert_intercept": [0.3, 0.1]}
    function = ms.RegressionFunction(gate, ms.experts.NonlinearExpert(), params)
    measure = ms.losses.measure_of(function)
    if gate == "hierarchical":
        assert isinstance(measure, HierarchicalMeasure)
        assert voronoi_loss(measure, measure, "hierarchical-D1").value == 0.0
        return
    assert isinstance(measure, ms.MixingMeasure)
    assert set(measure.atoms) - {"gate_intercept"} == {"gate", "coef", "intercept", "output"}
    assert voronoi_loss(measure, measure, "lse-L1" if gate == "softmax" else "sigmoid-L1").value == 0.0
    np.testing.assert_array_equal(measure.atoms["output"], [2.0, 1.0])  # tanh is odd


def test_huge_log_weights_stay_finite() -> None:
    params = {"gate_intercept": [2000.0, 0.0], "expert_intercept": [0.0, 1.0], "expert_scale": [1.0, 1.0]}
    params |= {"gate_coef": [[1.0], [0.0]], "expert_coef": [[1.0], [0.0]]}
    measure = ms.ConditionalMixture(params=params).mixing_measure()
    assert np.isfinite(measure.weights).all()
    constant = {key: value for key, value in params.items() if key != "gate_coef"}
    assert ms.ConditionalMixture("constant", params=constant).mixing_measure().weights.tolist() == [1.0, 0.0]


def test_symmetries_of_ridge_functions_are_resolved() -> None:
    expert = ms.experts.NonlinearExpert()
    params = {"gate_intercept": [0.2, 0.0], "gate_coef": [[1.0], [0.0]], "expert_scale": [0.3, 0.4]}
    params |= {"expert_coef": [[1.5], [-0.7]], "expert_intercept": [0.3, 0.1], "expert_output": [2.0, 1.0]}
    turned = params | {name: -np.asarray(params[name]) for name in ("expert_coef", "expert_intercept", "expert_output")}
    left, right = (ms.ConditionalMixture("softmax", expert, p).mixing_measure() for p in (params, turned))
    assert voronoi_loss(left, right, "strong-D1").value == 0.0


def test_models_without_a_measure_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    gated = family.mixture(Case(g.SharedExperts(weight="gated"), ms.experts.GaussianExpert()))
    with pytest.raises(ValueError, match="depends on x"):
        gated.mixing_measure()
    deep = g.HierarchicalGate([[[0, 1], 2], 3])
    params = {"gate_intercept": np.zeros(6), "gate_coef": np.zeros((6, 1)), "expert_intercept": np.zeros(4)}
    params |= {"expert_coef": np.zeros((4, 1)), "expert_scale": np.ones(4)}
    with pytest.raises(ValueError, match="more than two levels"):
        ms.ConditionalMixture(deep, params=params).mixing_measure()
    mixed = family.mixture(family.CASES[0])
    monkeypatch.setattr(type(mixed.expert), "exchangeable", False)
    with pytest.raises(ValueError, match="different families"):
        mixed.mixing_measure()


def test_estimators_have_it() -> None:
    X, y = family.data(Case(g.LaplaceGate(), ms.experts.GaussianExpert()), 120)
    est = ms.MoERegressor(2, gate="quadratic", n_init=1, max_iter=5, random_state=0)
    with pytest.warns(UserWarning, match="iteration limit"):
        est.fit(X, y)
    assert est.mixing_measure_.atoms["gate_quadratic"].shape == (2, 2, 2)
