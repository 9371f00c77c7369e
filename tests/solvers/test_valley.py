"""Leaps along curved valleys: fewer steps to the same optima, none where Newton does not creep."""

import numpy as np
import pytest

import moestat as ms
from moestat.simulate import load_scenario
from moestat.simulate.cells import draw_data, fit_cell
from moestat.simulate.scenario import Cell
from moestat.solvers import multistart
from moestat.solvers.valley import PATIENCE, Valley


@pytest.fixture
def ends(monkeypatch):
    """Length and value of every search."""
    found = []

    def auto(*args, **settings):
        run = search(*args, **settings)
        found.append((len(run.trace), run.state.value, run.status.certified))
        assert np.diff(run.trace).min(initial=0.0) >= -1e-9 * abs(run.state.value)
        return run

    search = multistart.auto
    monkeypatch.setattr(multistart, "auto", auto)
    return found


def over_specified(ends):
    scenario = load_scenario("least-squares-tanh")
    X, y, _ = draw_data(scenario, 250, 0)
    ends.clear()
    fit_cell(scenario, Cell(fit="k3", n_experts=3, n=250, rep=0), X, y)
    return list(ends)


def test_the_same_optima_in_fewer_steps(ends, monkeypatch):
    with_leaps = over_specified(ends)
    monkeypatch.setattr(Valley, "leap", lambda self, state: state)
    without = over_specified(ends)
    assert [value for _, value, _ in with_leaps] == pytest.approx([value for _, value, _ in without], abs=1e-6)
    assert all(certified for *_, certified in with_leaps)
    assert sum(steps for steps, *_ in with_leaps) < 0.75 * sum(steps for steps, *_ in without)


def test_regular_maxima_are_reached_without_leaps(ends, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, (500, 1))
    y = np.where(rng.random(500) < 1.0 / (1.0 + np.exp(-2.0 * X[:, 0])), 1.0 + X[:, 0], -X[:, 0]) + 0.3 * rng.normal(
        size=500
    )
    leaps = []
    monkeypatch.setattr(Valley, "_ahead", lambda self: leaps.append(self.steps))
    ms.GaussianMoERegressor(n_experts=2, n_init=3, random_state=0).fit(X, y)
    assert ends
    assert not leaps or min(leaps) >= PATIENCE


def test_a_leap_that_gains_less_than_its_steps_is_taken_back(ends, monkeypatch):
    taken = []

    def far_away(self, theta):
        taken.append(self.states[-1].value)
        return

    monkeypatch.setattr(Valley, "_corrected", far_away)
    refused = over_specified(ends)
    assert taken
    monkeypatch.setattr(Valley, "leap", lambda self, state: state)
    assert refused == over_specified(ends)
