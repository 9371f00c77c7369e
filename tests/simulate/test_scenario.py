"""Declarations: everything wrong is listed at once and located; the fingerprint covers what determines the records."""

import numpy as np
import pytest

from moestat.mixture import ConditionalMixture
from moestat.simulate import ScenarioError, list_scenarios, load_scenario
from moestat.simulate.library import parse_scenario
from moestat.simulate.starts import box_around, perturbed_truth, split_patterns, split_truth


def test_every_error_is_listed_with_its_place(raw):
    del raw["claim"]
    raw["colour"] = "red"
    raw["presets"]["quick"]["n"][1] = 1e3
    raw["presets"]["full"]["n"] = [100, 100]
    raw["truth"]["params"]["expert_scale"] = [0.3]
    raw["fit"][0]["variance"] = -1.0
    raw["loss"][0]["fit"] = "k9"
    raw["loss"][1]["name"] = "klx"
    raw["loss"][3]["id"] = "hellinger"
    raw["x"]["low"] = [2.0]
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(raw, "mine.toml")
    message = str(caught.value)
    for place in (
        "mine.toml", "claim: ", "colour: ", "presets.quick.n[1]: ", "presets.full: ", "truth.params: ", "fit[0].variance: ",
        "loss[0].fit: unknown fit 'k9'", "loss[1].name: ", "loss[3]: 'hellinger' is used twice", "x: low must lie below high",
    ):  # fmt: skip
        assert place in message
    assert "11 error(s)" not in message or message.count("\n") == 11


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda raw: raw["fit"][0].update(n_experts=1), "fit[0].n_experts: must be at least the truth's 2"),
        (lambda raw: raw["x"].update(low=[0.0, 0.0], high=[1.0, 1.0]), "truth.params.gate_coef: has 1 columns"),
        (lambda raw: raw["loss"][0].update(at="rule"), "loss[0].at: is 'rule'"),
        (lambda raw: raw["fit"].append(dict(raw["fit"][0])), "fit[1].id: 'k2' is used twice"),
        (
            lambda raw: raw.update(truth={"kind": "regression", "function": "cosine-series", "scale": 0.3}),
            "loss[0].name: D1 compares parameters",
        ),
    ],
)
def test_errors_between_parts(raw, change, place):
    change(raw)
    with pytest.raises(ScenarioError, match=r"not a valid scenario") as caught:
        parse_scenario(raw)
    assert place in str(caught.value)


def test_fingerprint_covers_the_records_only(raw):
    base = parse_scenario(raw).fingerprint()
    raw["claim"], raw["presets"]["full"]["reps"], raw["loss"][0]["exponent"] = "another text", 7, -0.4
    assert parse_scenario(raw).fingerprint() == base
    raw["truth"]["params"]["gate_intercept"][0] = -8.5
    assert parse_scenario(raw).fingerprint() != base


def test_packaged_scenarios_load_and_are_named_after_their_files():
    scenarios = {scenario.id: scenario for scenario in list_scenarios()}
    assert {"softmax-gaussian-exact", "softmax-gaussian-over", "polynomial-mendes-jiang"} <= set(scenarios)
    for name, scenario in scenarios.items():
        assert load_scenario(name) == scenario
        assert scenario.presets.full.reps >= 40
        assert len(scenario.presets.full.n) >= 8


def test_unknown_names(tmp_path):
    with pytest.raises(FileNotFoundError, match="softmax-gaussian-exact"):
        load_scenario("softmax-gausian")
    with pytest.raises(FileNotFoundError, match="no scenario file"):
        load_scenario(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("id = [", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"broken\.toml is not a TOML file"):
        load_scenario(broken)


def test_rule_grows_with_n():
    fit = load_scenario("polynomial-mendes-jiang").fit_by_id("k1")
    # c (n / log n)^(1/5) at c = 3.3: 7.94, 10.09, 12.84, 20.24 before rounding up
    assert [fit.rule.n_experts(n) for n in (500, 2000, 8000, 100_000)] == [8, 11, 13, 21]
    assert fit.experts_at(500, limit=6) == [3, 4, 6]


def test_splits_cover_all_patterns_and_keep_the_density(raw):
    assert list(split_patterns(4, 3)) == [(1, 1, 2), (1, 2, 1), (2, 1, 1)]
    assert len(list(split_patterns(5, 2))) == 4
    scenario = parse_scenario(raw)
    truth = scenario.truth
    x, y = np.linspace(0, 1, 7)[:, None], np.linspace(-4, 14, 7)
    base = ConditionalMixture(gate="softmax", expert="gaussian", params=split_truth(truth, (1, 1), 1))
    for pattern in split_patterns(3, 2):
        split = ConditionalMixture(gate="softmax", expert="gaussian", params=split_truth(truth, pattern, 1))
        np.testing.assert_allclose(split.log_density(x, y), base.log_density(x, y), rtol=1e-12)


def test_starts_lie_in_their_own_boxes(raw):
    raw["fit"][0]["n_experts"] = 3
    scenario = parse_scenario(raw)
    rng = np.random.default_rng(0)
    starts = perturbed_truth(scenario, scenario.fit[0], 3, rng)
    assert len(starts) == 2 * 3 * 2  # patterns, radii, repetitions
    for start in starts:
        for name, value in start.params.items():
            low, high = start.box[name]
            assert np.all((low <= value) & (value <= high)), name
        assert start.params["gate_intercept"][-1] == 0
    centre = ConditionalMixture(params=split_truth(scenario.truth, (2, 1), 1))
    scale = centre.params["expert_scale"]
    low, high = box_around(centre, scenario.fit[0].box)["expert_scale"]
    np.testing.assert_allclose(np.log(high**2) - np.log(scale**2), 2.0)
    np.testing.assert_allclose(low * high, scale**2)
