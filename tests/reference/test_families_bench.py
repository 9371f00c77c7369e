"""The rivals of the family benchmark maximise moestat's own log-likelihood, and a rival that stops early shows it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import external, families
from benchmarks.baselines import Trace
from benchmarks.families_numpy import FAMILIES
from benchmarks.problems import model_g
from moestat import ConditionalMixture

needs_jax = pytest.mark.skipif(not external.has_jax(), reason="JAX is not installed")
OBJECTIVES = [
    pytest.param(families.numpy_objective, id="numpy"),
    pytest.param(families.jax_objective, id="jax", marks=needs_jax),
]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("family", FAMILIES)
def test_log_likelihood_is_moestats(family: str, objective: Callable[[families.Task], families.Objective]) -> None:
    task, kit = families.make(family, "hard", 300, 2, 3), FAMILIES[family]
    mixture = ConditionalMixture(gate=kit.gate, expert=kit.expert, params=kit.public(task.start))
    expected = mixture.log_density(task.X, task.y).sum()
    assert objective(task)(task.theta)[0] == pytest.approx(expected, rel=1e-12)


@needs_jax
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_by_jax_is_that_of_the_formulas(family: str) -> None:
    task = families.make(family, "easy", 300, 2, 3)
    expected = families.numpy_objective(task)(task.theta)[1]
    found = families.jax_objective(task)(task.theta)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())


@needs_jax
def test_normal_log_likelihood_by_jax_is_moestats() -> None:
    problem, trace = model_g("hard", 300, 2, 3), Trace(cap=60.0)
    external.lbfgs_jax(problem, trace)
    mixture = ConditionalMixture(gate="softmax", expert="gaussian", params=problem.start.public())
    assert trace.logliks[0] == pytest.approx(mixture.log_density(problem.X, problem.y).sum(), rel=1e-12)
    assert max(trace.logliks) > trace.logliks[0] + 1.0


def test_a_rival_that_stops_early_shows_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    task = families.make("poisson", "hard", 300, 1, 2)
    monkeypatch.setattr(families, "MAX_ITER", 2)
    row = families.compare(task, 10.0, ["EM"])
    assert row["end"] == {"EM": "ended"}
    assert row["gap"]["EM"] == row["loglik"]["moestat"] - row["loglik"]["EM"] > 1e-3
    assert families.shown(row, "EM") == f"-{row['gap']['EM']:.2g}"
    assert row["ratio"] is None


def test_a_rival_that_arrives_is_timed_to_the_optimum() -> None:
    row = families.compare(families.make("poisson", "hard", 300, 1, 2), 60.0, ["EM", "L-BFGS"])
    assert row["end"] == {"EM": "reached", "L-BFGS": "reached"}
    assert max(row["gap"].values()) <= families.REACHED
    assert row["ratio"] == min(row["seconds"]["EM"], row["seconds"]["L-BFGS"]) / row["seconds"]["moestat"]


def test_without_jax_its_column_is_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "has_jax", lambda: False)
    assert "JAX is not installed" in families.left_out()["L-BFGS (JAX)"]
