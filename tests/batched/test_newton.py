"""Trust-region steps and box steps of stacks against those of single problems."""

import numpy as np
import pytest

from moestat.batched.arrays import scatter, solve_psd
from moestat.batched.model import box_step, model_at, trust_region_step
from moestat.linalg import solve_psd as solve_one
from moestat.solvers import newton
from moestat.solvers.certificate import local_model

from .stacked import scenario_jobs, whole


def spectra(rng, kind, size=6):
    """Ascending eigenvalues and scores of one kind of problem."""
    values, along = np.sort(rng.uniform(0.1, 3.0, size)), rng.standard_normal(size)
    if kind == "indefinite":
        values = np.sort(rng.standard_normal(size))
    elif kind == "hard":
        values = np.sort(np.append(-1.0, rng.uniform(0.1, 3.0, size - 1)))
        along[0] = 0.0
        along *= 0.1
    elif kind == "flat":
        values[0] = 1e-14
    elif kind == "nothing to gain":
        along[:] = 0.0
    return values, along


@pytest.mark.parametrize("kind", ["convex", "indefinite", "hard", "flat", "nothing to gain"])
def test_trust_region_steps_are_those_of_one_problem(rng, kind):
    problems = [spectra(rng, kind) for _ in range(40)]
    radius = rng.uniform(0.05, 5.0, 40)
    values, along = (np.stack(parts) for parts in zip(*problems, strict=True))
    found = trust_region_step(np, values, along, radius)
    for i in range(40):
        expected = newton.trust_region_step(values[i], along[i], radius[i])
        assert np.allclose(found[i], expected, rtol=1e-10, atol=1e-12)
        assert np.linalg.norm(found[i]) <= radius[i] * (1 + 1e-5)


@pytest.mark.parametrize("radius", [0.1, 3.0, 30.0])
def test_box_steps_are_those_of_one_problem(radius):
    jobs, _ = scenario_jobs("softmax-gaussian-over", "k3", 3, 150, [0, 1])
    problem, theta = whole(jobs)
    theta = problem.clip(np, theta)
    model = model_at(np, problem, theta)
    found = box_step(np, problem, theta, model, np.full(problem.size, radius))
    stopped = 0
    searches = [job for job in jobs for _ in job.starts]
    for i, job in enumerate(searches):
        job.objective.bounds = np.stack([problem.low[i], problem.high[i]])
        one = local_model(job.objective, theta[i])
        expected = newton.box_step(job.objective, theta[i], one, radius)
        assert np.allclose(found[i], expected, rtol=1e-7, atol=1e-9)
        assert model.decrement(np)[i] == pytest.approx(one.decrement, rel=1e-8)
        assert bool(model.upwards(np)[i]) == one.curves_upwards
        target = theta[i] + found[i]
        stopped += ((target == problem.low[i]) | (target == problem.high[i])).any()
    assert stopped or radius < 1.0


def test_solve_psd_is_that_of_one_system(rng):
    root = rng.standard_normal((5, 4, 4))
    matrix = root @ root.mT
    units = np.array([1e6, 1.0, 1.0, 1e-6])
    matrix[1] = matrix[1] * np.outer(units, units)
    matrix[2, :, 3] = matrix[2, 3, :] = 0.0  # a direction without information
    matrix[3] = np.outer(root[3, 0], root[3, 0])
    solution = rng.standard_normal((5, 4, 1))
    solution[1, :, 0] /= units
    rhs = (matrix @ solution)[..., 0]
    found = solve_psd(np, matrix, rhs)
    for i in range(5):
        assert np.allclose(found[i], solve_one(matrix[i], rhs[i][:, None])[:, 0], rtol=1e-7, atol=1e-9)
    matrix[4, 0, 0] = np.nan
    assert np.array_equal(solve_psd(np, matrix, rhs)[4], np.zeros(4))


def test_scatter():
    full = np.zeros((5, 2))
    found = scatter(np, full, np.array([1, 3]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert np.array_equal(found, [[0, 0], [1, 2], [0, 0], [3, 4], [0, 0]])
    assert not full.any()


def test_a_problem_shares_its_features():
    jobs, _ = scenario_jobs("softmax-gaussian-exact", "k2", 2, 60, [0])
    problem, _ = whole(jobs)
    part = problem.take(np, np.array([0, 2]))
    assert part.phi is part.z
    assert part.size == 2
