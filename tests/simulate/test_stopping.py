"""The stopping-rule study: what EM gives at a tolerance, against EM run again from the same start."""

import numpy as np
import pytest

from moestat.divergences import kl
from moestat.fitting import fit_mixture
from moestat.simulate import build_law, load_scenario, stream
from moestat.simulate.cells import fit_cell
from moestat.simulate.models import context, draw_data
from moestat.simulate.scenario import Cell
from moestat.simulate.starts import perturbed_truth
from moestat.simulate.stopping import rates_by_rule, stopping_study

SCENARIO = load_scenario("softmax-gaussian-protocol")


@pytest.fixture(scope="module")
def frame():
    return stopping_study(SCENARIO, (125, 250, 500), 2, tolerances=(1e-6, 1e-4, 1e-8), losses=("kl",))


def test_one_row_for_each_rule(frame):
    assert len(frame) == 3 * 2 * 4
    for _, rows in frame.groupby(["n", "rep"]):
        assert rows["rule"].tolist() == ["0.0001", "1e-06", "1e-08", "certified"]
        steps = rows["iterations"].tolist()[:3]
        assert steps == sorted(steps)
        below = rows["below"].tolist()
        assert below[0] >= below[1] - 1e-9 >= below[2] - 2e-9  # EM never falls
        assert below[3] == 0
    assert frame.loc[frame["rule"] == "certified", "certified"].all()
    assert not frame.loc[frame["rule"] != "certified", "certified"].any()


@pytest.mark.parametrize("n", [125, 500])
def test_estimates_are_those_of_em_run_so_far(frame, n):
    X, y, _ = draw_data(SCENARIO, n, 0)
    fit = SCENARIO.fit_by_id("published")
    start = perturbed_truth(SCENARIO, fit, 3, stream(SCENARIO.root_seed, SCENARIO.id, n, 0, "init"), n)[0]
    _, best, _ = fit_cell(SCENARIO, Cell("certified", 3, n, 0), X, y)
    _, truth = context(SCENARIO)
    for rule in ("0.0001", "1e-06"):
        row = frame[(frame["n"] == n) & (frame["rep"] == 0) & (frame["rule"] == rule)].iloc[0]
        again = fit_mixture(X, y, n_experts=3, init=[start], solver="em", tol=1e-300, max_iter=int(row["iterations"]))
        assert best.loglik - again.result.loglik == pytest.approx(row["below"], abs=1e-2)
        assert kl(truth, again.mixture, x=build_law(SCENARIO)).value == pytest.approx(row["value"], rel=1e-2)


def test_rates_by_rule(frame):
    rates = rates_by_rule(frame, SCENARIO)
    assert list(rates) == ["kl"]
    assert list(rates["kl"]) == ["0.0001", "1e-06", "1e-08", "certified"]
    assert {rate.theory for rate in rates["kl"].values()} == {-1.0}
    assert all(np.isfinite(rate.slope) for rate in rates["kl"].values())


def test_figure(frame):
    from moestat import plot

    rates = rates_by_rule(frame, SCENARIO)
    figure = plot.stopping_figure(frame, rates)
    figure.draw_without_rendering()
    drawn = [float(c.lines[0].get_ydata()[0]) for c in figure.axes[0].containers]
    np.testing.assert_allclose(drawn, [rate.slope for rate in rates["kl"].values()])
