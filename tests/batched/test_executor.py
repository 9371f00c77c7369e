"""Records of stacked cells against those computed one by one, and what cannot be stacked."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from moestat.batched import compute_batch, supports
from moestat.batched.namespace import available_bytes, compat, namespace, resolve_device, to_host
from moestat.batched.planning import plan
from moestat.simulate import Cell, load_scenario
from moestat.simulate.cells import run_cell

from .stacked import family_jobs, whole

FREE = {"seconds", "n_iter", "decrement", "error"}  # may differ: times, steps near the end, rounding


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("softmax-gaussian-exact", [Cell("k2", 2, 200, rep) for rep in range(3)]),
        ("softmax-gaussian-over", [Cell("k3", 3, n, rep) for n in (125, 250) for rep in (0, 1)]),
        ("polynomial-mendes-jiang", [Cell("k0", 4, 300, 0), Cell("k3", 2, 500, 0), Cell("k1", 3, 300, 0)]),
    ],
)
def test_records_are_those_of_single_cells(name, cells):
    scenario = load_scenario(name)
    rows = compute_batch(scenario, cells)
    expected = [row for cell in cells for row in run_cell(scenario, cell)]
    assert len(rows) == len(expected)
    for mine, theirs in zip(rows, expected, strict=True):
        assert list(mine) == list(theirs)
        # a separated gate has no maximiser: its search ends within tol = 1e-2 nats of the supremum, where it does is rounding's choice
        tolerance = 1e-7 if theirs["status"] == "certified" else 1e-3
        for key in set(theirs) - FREE:
            if isinstance(theirs[key], float):
                assert mine[key] == pytest.approx(theirs[key], rel=tolerance, nan_ok=True), key
            else:
                assert mine[key] == theirs[key], key
        assert mine["decrement"] <= scenario.solver.tol
        assert mine["seconds"] > 0


def test_records_do_not_depend_on_the_company():
    scenario = load_scenario("softmax-gaussian-exact")
    cells = [Cell("k2", 2, 120, rep) for rep in range(4)]
    together = compute_batch(scenario, cells)
    some = compute_batch(scenario, cells, memory=400_000)
    alone = [row for cell in cells for row in compute_batch(scenario, [cell])]
    for rows in (some, alone):
        for mine, theirs in zip(rows, together, strict=True):
            assert (mine["status"], mine["agree"], mine["rep"]) == (theirs["status"], theirs["agree"], theirs["rep"])
            assert mine["value"] == pytest.approx(theirs["value"], rel=1e-8)


@pytest.mark.parametrize(
    ("name", "fit", "stacks"),
    [
        ("softmax-gaussian-exact", "k2", True),
        ("softmax-gaussian-over", "k3", True),
        ("polynomial-mendes-jiang", "k2", True),
        ("em-known-variance", "em", False),  # not to the certificate by "auto"
        ("topk-gaussian", None, False),
        ("sigmoid-regime-1", None, False),  # least squares
    ],
)
def test_what_can_be_stacked(name, fit, stacks):
    scenario = load_scenario(name)
    fit = fit or scenario.fit[0].id
    assert supports(scenario, fit) is stacks
    if not stacks:
        n_experts = scenario.fit_by_id(fit).experts_at(100)[0]
        assert compute_batch(scenario, [Cell(fit, n_experts, 100, 0)]) is None


def test_a_cell_that_cannot_begin_is_left_to_others():
    """Too few rows: computed alone, the cell becomes a record with the reason."""
    scenario = load_scenario("softmax-gaussian-exact")
    cells = [Cell("k2", 2, 120, 0), Cell("k2", 2, 1, 0)]
    rows = compute_batch(scenario, cells)
    assert {row["n"] for row in rows} == {120}
    assert compute_batch(scenario, cells[1:]) is None
    assert run_cell(scenario, cells[1])[0]["status"] == "failed"


def test_cells_that_do_not_fit_are_left_to_others():
    scenario = load_scenario("softmax-gaussian-exact")
    with pytest.warns(
        RuntimeWarning, match="1 cells with n=400 are left to be computed one by one: one fit of 400 rows"
    ):
        assert compute_batch(scenario, [Cell("k2", 2, 400, 0)], memory=30_000) is None


def test_devices(monkeypatch):
    assert resolve_device("cpu") == (np, "cpu")
    with pytest.raises(ValueError, match="device='tpu' is not known; give 'cpu' or 'cuda'"):
        resolve_device("tpu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'moestat\[gpu\]'"):
        compute_batch(load_scenario("softmax-gaussian-exact"), [], device="cuda")


def test_libraries(monkeypatch):
    assert namespace(np.ones(2)) is np
    assert available_bytes(np.ones(2)) > 0
    assert to_host(np.ones(2)).tolist() == [1.0, 1.0]
    monkeypatch.setitem(sys.modules, "array_api_compat.torch", None)
    with pytest.raises(ValueError, match="pip install array-api-compat"):
        compat("torch")


def test_plan_is_within_the_memory():
    problem, _ = whole(family_jobs("gaussian", reps=1))
    frame, like = problem.frame, problem.z
    small, large = (plan(frame, 10_000, 1000, like, memory=memory) for memory in (2**24, 2**30))
    assert small.fits < large.fits <= 1000
    assert small.rows * small.block <= large.rows * large.block
    assert math.prod((small.block, small.rows)) >= 1
    assert plan(replace(frame, n_experts=8), 10_000, 1000, like, memory=2**24).fits < small.fits
