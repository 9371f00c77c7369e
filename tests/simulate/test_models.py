"""Scenarios of every gate and family: what a declaration means, and that the cells of every packaged scenario can be computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import moestat as ms
from moestat.losses import DeviatedMeasure
from moestat.simulate import Cell, ScenarioError, list_scenarios, load_scenario, run_cell
from moestat.simulate.cells import fit_cell
from moestat.simulate.library import parse_scenario
from moestat.simulate.models import build_law, build_truth, draw_data, expert_of, gate_of, grouped, measure
from moestat.simulate.parts import MixtureTruth
from moestat.simulate.starts import box_around, perturbed_truth, split_patterns, split_truth

SCENARIOS = {scenario.id: scenario for scenario in list_scenarios()}


@pytest.mark.parametrize("name", SCENARIOS)
def test_cells_of_every_scenario(name: str) -> None:
    """One cell a fit at the smallest size: every loss is a number, and the fit ends."""
    scenario = SCENARIOS[name]
    smoke = scenario.presets.smoke
    for fit in scenario.fit:
        m = fit.experts_at(smoke.n[0], smoke.max_experts)
        assert m, f"the preset smoke leaves out the fit {fit.id}"
        for row in run_cell(scenario, Cell(fit.id, m[0], smoke.n[0], 0)):
            assert row["status"] not in ("failed", "crashed"), row["traceback"]
            assert np.isfinite(row["value"]), row
            assert row["value"] >= 0.0
    assert all(scenario.losses_of(fit.id) for fit in scenario.fit), "a fit without a loss is computed for nothing"


SPLIT = [
    name for name, s in SCENARIOS.items()
    if isinstance(s.truth, MixtureTruth) and s.starts.kind == "perturbed-truth" and "shared" not in str(s.truth.gate)
    and "hierarchical" not in str(s.truth.gate) and s.truth.expert != "mixed" and not s.truth.deviated
]  # fmt: skip


@pytest.mark.parametrize("name", SPLIT)
def test_a_split_truth_is_the_truth(name: str) -> None:
    """With one atom too many at the same place the density is the same; the sigmoid gate's where its slopes are zero."""
    scenario = SCENARIOS[name]
    truth = build_truth(scenario)
    X, y, _ = draw_data(scenario, 20, 0)
    k, d = truth.n_experts, scenario.x.n_features
    # the most active experts of a top-k gate would be the two halves of one
    sparse = isinstance(scenario.truth.gate, str) or scenario.truth.gate.name != "topk"
    moving = scenario.truth.gate == "sigmoid" and np.any(scenario.truth.params["gate_coef"])
    for pattern in split_patterns(k + 1, k) if sparse and not moving else []:
        params = split_truth(scenario.truth, pattern, scenario.truth.degree, d)
        if scenario.truth.noise is not None:
            split: Any = ms.RegressionFunction(truth.gate, truth.expert, params, truth.noise_std, n_features=d)
        else:
            split = ms.ConditionalMixture(truth.gate, truth.expert, params, n_features=d)
        np.testing.assert_allclose(split.log_density(X, y), truth.log_density(X, y), rtol=1e-9, atol=1e-9)


def test_gates_that_no_rule_can_split() -> None:
    with pytest.raises(ValueError, match="give the fit its centres"):
        split_truth(SCENARIOS["hierarchical"].truth, (2, 1, 1, 1))


@pytest.mark.parametrize("name", ["laplace", "gaussian-gate-type-1", "deviated", "deepseek-1", "least-squares-tanh"])
def test_starts_lie_in_boxes_of_any_gate(name: str) -> None:
    from moestat.box import box_bounds

    scenario = SCENARIOS[name]
    fit = scenario.fit[-1]
    starts = perturbed_truth(scenario, fit, fit.n_experts, np.random.default_rng(0))
    assert len(starts) >= 2
    for start in starts:
        made = _mixture(scenario, fit, start.params)
        layout = made._raw_layout
        low, high = (layout.pack(side) for side in box_bounds(layout, start.box, made.vector_y))
        theta = made.free_vector()
        assert (low - 1e-9 <= theta).all()
        assert (theta <= high + 1e-9).all()


def _mixture(scenario: Any, fit: Any, params: Any) -> Any:
    from moestat.simulate.models import build_mixture

    return build_mixture(scenario.truth, gate_of(scenario, fit), expert_of(scenario, fit), params, scenario)


def test_radii_shrink_with_n() -> None:
    """A published protocol starts nearer the truth the larger the sample is."""
    scenario = SCENARIOS["softmax-gaussian-protocol"]
    fit = scenario.fit_by_id("published")
    near, far = (
        perturbed_truth(scenario, fit, 3, np.random.default_rng(0), n)[0].params["expert_coef"] for n in (10**6, 1)
    )
    centre = split_truth(scenario.truth, next(split_patterns(3, 2)))["expert_coef"]
    np.testing.assert_allclose(near - centre, (far - centre) * 10 ** (6 * -0.083))


def test_the_published_rule_stops_where_it_says() -> None:
    """EM step by step: the first relative change below 1e-6 is the last step."""
    scenario = SCENARIOS["softmax-gaussian-protocol"]
    X, y, _ = draw_data(scenario, 500, 1)
    _, result, _ = fit_cell(scenario, Cell("published", 3, 500, 1), X, y)
    fit = scenario.fit_by_id("published")
    from moestat.fitting import fit_mixture
    from moestat.simulate.seeds import stream

    starts = perturbed_truth(scenario, fit, 3, stream(scenario.root_seed, scenario.id, 500, 1, "init"), 500)
    for start in starts:
        path: list[float] = []
        settings: dict[str, Any] = {"solver": "em", "tol": 1e-300, "max_iter": 2000}
        fit_mixture(X, y, 3, init=[start], **settings, callback=lambda _, value, path=path: path.append(value))
        change = np.abs(np.diff(path) / path[1:])
        step = int(np.argmax(change <= 1e-6)) + 1
        if path[step] == pytest.approx(result.loglik, rel=1e-12):
            break
    else:
        pytest.fail("no start ends where the rule says")
    assert result.n_iter in (step, step + 1)


def test_grouped_counts_come_from_one_expert() -> None:
    """The variance of the counts is that of a mixture of multinomials, larger than that of one multinomial with their mean."""
    scenario = SCENARIOS["multinomial-over"]
    truth = build_truth(scenario)
    X = np.full((40_000, 1), 0.2)
    counts = grouped(truth, X, 50, np.random.default_rng(0))
    assert counts.shape == (40_000, 3)
    assert (counts.sum(axis=1) == 50).all()
    weight, proba = truth.gate_proba(X[:1])[0], truth.expert_mean(X[:1])[0]
    mean = 50 * weight @ proba
    np.testing.assert_allclose(counts.mean(axis=0), mean, rtol=0.02)
    variance = weight @ (50 * proba * (1 - proba) + (50 * proba) ** 2) - mean**2
    np.testing.assert_allclose(counts.var(axis=0), variance, rtol=0.03)


def test_a_joint_law_is_that_of_the_truth() -> None:
    scenario = SCENARIOS["gaussian-gate-type-2"]
    X, _, _ = draw_data(scenario, 20_000, 0)
    weight, place = np.array([0.6, 0.4]), np.array([0.0, 0.8])
    assert X.mean() == pytest.approx(weight @ place, abs=0.02)
    assert build_law(scenario).n_features == 1


def test_the_measure_of_a_deviation() -> None:
    scenario = SCENARIOS["deviated"]
    found = measure(scenario, build_truth(scenario))
    assert isinstance(found, DeviatedMeasure)
    odds = np.exp([-0.083, 0.4, 0.0])
    assert found.weight == pytest.approx(1 - odds[0] / odds.sum())
    np.testing.assert_allclose(found.measure.weights, odds[1:] / odds[1:].sum())


def test_widths_of_positive_numbers_are_logarithmic() -> None:
    truth = ms.ConditionalMixture(params=split_truth(load_scenario("softmax-gaussian-over").truth, (1, 1)))
    box = box_around(truth, {"log_variance": 1.0, "expert_coef": [0.0, 2.0], "gate_intercept": 0.5})
    low, high = box["expert_scale"]
    np.testing.assert_allclose(np.log(high / low), 1.0)
    np.testing.assert_allclose(box["expert_coef"][1] - box["expert_coef"][0], [[0.0], [4.0]])
    np.testing.assert_allclose(box["gate_intercept"][0], [0.0, -0.5])


def test_settings_of_gates_are_read(raw: Any) -> None:
    raw["truth"]["gate"] = {"name": "shared", "n_shared": 1, "routed": {"name": "topk", "k": 1}}
    raw["truth"]["params"]["shared_intercept"] = [0.0]
    raw["truth"]["params"]["gate_coef"], raw["truth"]["params"]["gate_intercept"] = [[0.0]], [0.0]
    gate = build_truth(parse_scenario(raw)).gate
    assert repr(gate) == repr(ms.gates.SharedExperts(1, routed=ms.gates.TopKGate(1)))
    raw["truth"]["params"]["shared_intercept"] = [0.0, 0.0]
    with pytest.raises(ScenarioError, match=r"truth: .*shared_intercept"):
        build_truth(parse_scenario(raw))
    raw["truth"]["params"] = {"gate_colour": [1.0], "weights": [1.0]}
    with pytest.raises(ScenarioError, match="'weights' is no parameter of a mixture"):
        parse_scenario(raw)
    raw["truth"]["params"] = {"gate_coef": [[1.0], [2.0, 3.0]], "expert_intercept": [1.0]}
    with pytest.raises(ScenarioError, match="rows of gate_coef differ in length"):
        parse_scenario(raw)
    raw["truth"]["params"] = {"gate_coef": [[float("nan")]], "expert_intercept": [1.0]}
    with pytest.raises(ScenarioError, match="must hold finite numbers"):
        parse_scenario(raw)
    raw["solver"] = {"name": "auto", "stop": "relative"}
    with pytest.raises(ScenarioError, match="is a rule for name = 'em'"):
        parse_scenario(raw)
