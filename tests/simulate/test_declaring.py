"""The template is a scenario that runs; predictions are those of the measured times."""

from __future__ import annotations

import math
import tomllib

import pytest

from moestat.simulate import Cell, Store, dry_run, failure_groups, load_scenario, run_status, scenario_schema
from moestat.simulate.declaring import template
from moestat.simulate.inspecting import predict_seconds
from moestat.simulate.library import parse_scenario
from tests.simulate.fake import quick_cell


def test_the_template_is_valid_and_every_comment_is_short():
    scenario = parse_scenario(tomllib.loads(template("my-own")))
    assert scenario.id == "my-own"
    assert {loss.name: loss.exponent for loss in scenario.loss} == {"D1": -0.5, "kl": -1.0}


def test_what_the_template_comments_out_is_valid_too():
    lines = template("my-own").splitlines()
    for line in ("# degree = 1", "# [solver]", '# name = "auto"', "# tol = 1e-8", "# agree = 2", '# bound = "at-most"'):
        place = next(i for i, text in enumerate(lines) if text.startswith(line))
        lines[place] = lines[place].removeprefix("# ")
    scenario = parse_scenario(tomllib.loads("\n".join(lines)))
    assert scenario.solver.agree == 2
    assert scenario.loss[0].bound == "at-most"


@pytest.mark.parametrize("name", ["", "My", "a b", "-a", "a.b"])
def test_bad_names(name):
    with pytest.raises(ValueError, match="small letters, digits and hyphens"):
        template(name)


def test_prediction_uses_the_own_group_then_the_nearest_of_the_fit():
    scenario = load_scenario("polynomial-mendes-jiang")
    a, b = Cell("k1", 3, 500, 0), Cell("k1", 3, 8000, 0)
    assert predict_seconds(scenario, {("k1", 3, 500): 2.0}, [a, a]) == 4.0
    ratio = scenario.cost(b) / scenario.cost(a)
    assert predict_seconds(scenario, {("k1", 3, 500): 2.0, ("k0", 4, 8000): 9.0}, [b]) == pytest.approx(2 * ratio)
    assert math.isnan(predict_seconds(scenario, {}, [a]))
    assert predict_seconds(scenario, {}, []) == 0.0


def test_prediction_beyond_the_measured_sizes_follows_the_measured_growth():
    scenario = load_scenario("softmax-gaussian-exact")
    cost = {n: scenario.cost(Cell("k2", 2, n, 0)) for n in (100, 400, 1600, 100_000)}
    measured = {("k2", 2, n): 3.0 * cost[n] ** 0.25 for n in (100, 400, 1600)}
    large = Cell("k2", 2, 100_000, 0)
    assert predict_seconds(scenario, measured, [large]) == pytest.approx(3.0 * cost[100_000] ** 0.25)
    flat = {group: 2.0 / (i + 1) for i, group in enumerate(measured)}  # never cheaper than what was measured
    assert predict_seconds(scenario, flat, [large]) == pytest.approx(2.0 / 3)


def test_dry_run_tries_every_fit_and_forecasts_every_preset():
    scenario = load_scenario("polynomial-mendes-jiang")
    tried = []

    def compute(scenario, cell):
        tried.append(cell)
        return quick_cell(scenario, cell)

    found = dry_run(scenario, budget=1e-9, compute=compute)
    full = scenario.presets.full
    assert sorted(cell.fit for cell, _, _ in found.tried) == ["k0", "k1", "k2", "k3"]
    for cell, _, _ in found.tried:
        assert cell == min(scenario.cells(full.n, 1), key=lambda c: (c.fit != cell.fit, scenario.cost(c)))
    assert tried[0] == tried[1]  # the first is tried twice, once to compile
    sizes = {forecast.preset: forecast.cells for forecast in found.forecasts}
    assert sizes["full"] == len(scenario.cells(full.n, full.reps))
    assert sizes["smoke"] < sizes["quick"] < sizes["full"]
    assert found.failures == []
    assert all(forecast.seconds > 0 and forecast.bytes > 0 for forecast in found.forecasts)
    assert len(dry_run(scenario, budget=60.0, compute=quick_cell).tried) > len(found.tried)


def test_the_schema_knows_every_table():
    schema = scenario_schema()
    assert {"Fit", "Loss", "MixtureTruth", "Presets", "SolverSpec", "Starts", "UniformLaw"} <= set(schema["$defs"])
    assert "exponent" in schema["$defs"]["Loss"]["properties"]


def test_an_empty_run_has_a_status(tmp_path):
    scenario = load_scenario("softmax-gaussian-exact")
    store = Store(tmp_path / "run")
    store.open(scenario, {100: 2, 200: 3})
    status = run_status(store.path)
    assert [(size.n, size.done, size.planned) for size in status.sizes] == [(100, 0, 2), (200, 0, 3)]
    assert math.isnan(status.seconds_left)
    assert status.slowest == []
    assert failure_groups(store.read()[0]) == []
