"""Losses by name in a scenario: every kind, with its option in brackets."""

from __future__ import annotations

import pytest

from moestat.losses import KINDS, voronoi_loss
from moestat.simulate import load_scenario
from moestat.simulate.cells import _loss_row
from moestat.simulate.library import parse_scenario
from moestat.simulate.loss_names import DIVERGENCES, EFFORT, compares_parameters, gap_of, kind_and_options
from moestat.simulate.models import build_law, build_truth
from moestat.simulate.scenario import ScenarioError

NEED_A_NUMBER = {"topk-D1", "topk-D2", "topk-D2sharp", "deepseek-D5"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_name(kind: str) -> None:
    name = f"{kind}(2)" if kind in NEED_A_NUMBER else kind
    assert kind_and_options(name) == (kind, {"n_active": 2} if kind in NEED_A_NUMBER else {})
    assert compares_parameters(name)


def test_options_and_errors() -> None:
    assert kind_and_options("lse-L2r(3)") == ("lse-L2r", {"r": 3.0})
    for name, message in {
        "D3": "no loss 'D3'", "D1(2)": "takes none", "topk-D1": "needs the number", "topk-D1(1.5)": "needs the number", "lse-L2r(x)": "no loss",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            kind_and_options(name)
        assert not compares_parameters(name)
    assert not any(map(compares_parameters, (*DIVERGENCES, EFFORT, 3, None, "gap:coef@D9")))
    assert compares_parameters("gap:coef@lse-L1")
    assert gap_of("gap:expert_coef") == ("over", "coef", "D2sharp")
    assert gap_of("spread:intercept@lse-L1") == ("spread", "intercept", "lse-L1")


def test_a_scenario_with_such_losses() -> None:
    raw = load_scenario("softmax-gaussian-exact").model_dump(exclude_none=True)
    raw["loss"] = [{"name": name} for name in ("topk-D1(1)", "temperature-D2r", "quadratic-polynomial-D2sharp", "kl")]
    scenario = parse_scenario(raw)
    assert scenario.losses_of(scenario.fit[0].id)[0] == "topk-D1(1)"
    truth, law = build_truth(scenario), build_law(scenario)
    theta = truth.free_vector()
    near = truth.with_free_vector(theta + 0.01)
    row = _loss_row(scenario, "topk-D1(1)", near, truth, law)
    assert row["value"] == voronoi_loss(near.mixing_measure(), truth.mixing_measure(), "topk-D1", n_active=1).value
    assert row["pattern"] == "(1,1)"
    assert 0.0 < _loss_row(scenario, "quadratic-polynomial-D2sharp", near, truth, law)["value"] < 1.0
    assert "activation-D2" in _loss_row(scenario, "activation-D2", near, truth, law)["message"]  # another gauge
    raw["loss"] = [{"name": "topk-D1"}, {"name": "D9"}]
    with pytest.raises(ScenarioError, match=r"(?s)loss\[0\].name: .*topk-D1.*loss\[1\].name: .*D9"):
        parse_scenario(raw)
