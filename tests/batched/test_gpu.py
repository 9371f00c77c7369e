"""Fits on a CUDA device; skipped where there is none."""

import numpy as np
import pytest

from moestat.batched import compute_batch, fit_batch
from moestat.batched.namespace import available_bytes, namespace, resolve_device, to_host
from moestat.simulate import Cell, load_scenario

from .test_fit import exact
from .test_objective import closest

pytestmark = pytest.mark.gpu


def test_fit_batch_stays_on_the_device():
    xp, device = resolve_device("cuda")
    X, y, starts, box, _ = exact(n=200, reps=8)
    expected = fit_batch(X, y, starts, box=box)
    place = {key: xp.asarray(np.ascontiguousarray(value), device=device) for key, value in starts.items()}
    box = {key: tuple(xp.asarray(np.array(side), device=device) for side in pair) for key, pair in box.items()}
    result = fit_batch(xp.asarray(X, device=device), xp.asarray(y, device=device), place, box=box)
    assert namespace(result.loglik) is xp
    assert available_bytes(result.loglik) > 0
    best = expected.best()
    rows = np.arange(len(best))
    assert closest(to_host(result.loglik)[rows, best], expected.loglik[rows, best]) < 1e-9
    assert closest(to_host(result.params["expert_coef"])[rows, best], expected.params["expert_coef"][rows, best]) < 1e-8


@pytest.mark.parametrize(
    ("name", "fit", "n_experts"), [("softmax-gaussian-exact", "k2", 2), ("softmax-gaussian-over", "k3", 3)]
)
def test_records_are_those_of_the_processor(name, fit, n_experts):
    scenario, cells = load_scenario(name), [Cell(fit, n_experts, 300, rep) for rep in range(4)]
    on_gpu, on_cpu = (compute_batch(scenario, cells, device=device) for device in ("cuda", "cpu"))
    for mine, theirs in zip(on_gpu, on_cpu, strict=True):
        assert (mine["status"], mine["agree"]) == (theirs["status"], theirs["agree"])
        assert mine["value"] == pytest.approx(theirs["value"], rel=1e-6)
