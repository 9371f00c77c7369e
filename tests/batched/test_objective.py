"""Values, derivatives and EM steps of stacks against the compiled objective, on NumPy, array-api-strict and PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moestat.batched import em, objective
from moestat.batched.namespace import compat, namespace, to_host
from moestat.batched.special import log_gamma
from moestat.batched.stacking import Job
from moestat.experts.gaussian import GaussianExpert
from moestat.gates.constant import ConstantGate
from moestat.gates.softmax import SoftmaxGate

from .stacked import FAMILIES, family_jobs, scenario_jobs, whole


def closest(left, right):
    """Largest difference in units of the largest entry."""
    return np.abs(left - right).max() / np.abs(right).max()


def compiled(jobs, thetas):
    """Value, gradient and Hessian of each job's objective."""
    found = [job.objective.derivatives(theta) for job, theta in zip(jobs, thetas, strict=True)]
    return [np.stack(parts) for parts in zip(*found, strict=True)]


def strict(device):
    xp = pytest.importorskip("array_api_strict")
    return xp, xp.Device(device)


def torch():
    pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    return compat("torch"), "cpu"


BACKENDS = {"numpy": lambda: (np, "cpu"), "strict": lambda: strict("device1"), "torch": torch}


@pytest.fixture(params=BACKENDS)
def backend(request):
    return BACKENDS[request.param]()


@pytest.mark.parametrize(("n_experts", "d"), [(2, 1), (3, 2)])
@pytest.mark.parametrize("name", FAMILIES)
def test_derivatives_are_those_of_the_compiled_objective(name, n_experts, d):
    jobs = family_jobs(name, n_experts=n_experts, d=d)
    problem, theta = whole(jobs, block=2, rows=50)
    found = objective.derivatives(np, problem, theta)
    value, gradient, hessian = compiled(jobs, theta)
    offset = found.value - value  # what Poisson and multinomial densities have in y alone
    assert (
        np.abs(offset if "expert_scale" in FAMILIES[name][1].keys else offset - offset).max()
        < 1e-10 * np.abs(value).max()
    )
    assert closest(found.gradient, gradient) < 1e-10
    assert closest(found.hessian, hessian) < 1e-10
    assert closest(objective.values(np, problem, theta), found.value) < 1e-13


@pytest.mark.parametrize(
    "cell",
    [("softmax-gaussian-exact", "k2", 2), ("softmax-gaussian-over", "k3", 3), ("polynomial-mendes-jiang", "k3", 4)],
)
def test_derivatives_on_scenarios(cell):
    jobs, _ = scenario_jobs(*cell, n=150, reps=[0, 1])
    problem, theta = whole(jobs)
    theta = problem.clip(np, theta)
    searches = [job for job in jobs for _ in job.starts]
    found = objective.derivatives(np, problem, theta)
    for mine, theirs in zip((found.value, found.gradient, found.hessian), compiled(searches, theta), strict=True):
        assert closest(mine, theirs) < 1e-10


@pytest.mark.parametrize("name", ["gaussian", "multinomial"])
def test_every_library_gives_the_same(name, backend):
    jobs = family_jobs(name, n=60)
    expected = objective.derivatives(np, *whole(jobs))
    xp, device = backend
    problem, theta = whole(jobs, xp, device)
    found = objective.derivatives(xp, problem, theta)
    assert namespace(found.hessian) == namespace(theta)
    assert found.hessian.device == theta.device
    for name_, value in found.arrays().items():
        assert closest(to_host(value), expected.arrays()[name_]) < 1e-13


@pytest.mark.parametrize("length", [1.0, 0.25, 0.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_em_steps_are_those_of_the_compiled_objective(name, length):
    jobs = family_jobs(name, n_experts=3)
    problem, theta = whole(jobs)
    found = em.maximise(np, problem, theta, objective.em_statistics(np, problem, theta), length)
    for job, start, new in zip(jobs, theta, found, strict=True):
        expected = job.objective.maximise(start, job.objective.em_pass(start), length)
        assert closest(new, expected) < 1e-9


@pytest.mark.parametrize("name", FAMILIES)
def test_em_climbs(name):
    problem, theta = whole(family_jobs(name))
    before = objective.values(np, problem, theta)
    for longest in (1, 2, 5):
        after = objective.values(np, problem, em.climb(np, problem, theta, longest)[0])
        assert (after >= before - 1e-10 * np.abs(before)).all()
        before = after


def test_an_expert_without_rows_keeps_its_parameters():
    (job,) = family_jobs("gaussian", reps=1)
    far = job.starts[0].copy()
    far[2:4] = [-800.0, 0.0]  # expert 1 is nowhere near the data
    job.starts = [far]
    problem, theta = whole([job])
    found = em.maximise(np, problem, theta, objective.em_statistics(np, problem, theta), 1.0)
    assert np.isfinite(found).all()
    assert np.array_equal(found[0, 2:4], far[2:4])


def test_log_gamma():
    from scipy.special import gammaln

    x = np.concatenate([np.arange(1.0, 200.0), np.geomspace(1.0, 1e8, 200)])
    assert np.allclose(log_gamma(np, x), gammaln(x), rtol=1e-14, atol=1e-13)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n_experts=st.integers(1, 5),
    d=st.integers(1, 3),
    degree=st.integers(0, 3),
    n=st.integers(6, 40),
    variance=st.sampled_from(["free", "tied", 0.7]),
    gate=st.sampled_from([SoftmaxGate(), ConstantGate()]),
    raw=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_shape(n_experts, d, degree, n, variance, gate, raw, seed):
    """Any number of experts, columns and degree, at any point, in the user's or orthonormal features."""
    rng = np.random.default_rng(seed)
    jobs = []
    for _ in range(2):
        X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
        jobs.append(Job.build(X, y, n_experts, gate, GaussianExpert(degree=degree, variance=variance), raw=raw))
        jobs[-1].starts = [rng.standard_normal(jobs[-1].objective.n_params)]
        jobs[-1].bounds = [jobs[-1].objective.bounds]
    problem, theta = whole(jobs, block=1, rows=7)
    found = objective.derivatives(np, problem, theta)
    for mine, theirs in zip((found.value, found.gradient, found.hessian), compiled(jobs, theta), strict=True):
        assert closest(mine, theirs) < 1e-10
    stepped = em.maximise(np, problem, theta, objective.em_statistics(np, problem, theta), 0.0)
    assert (objective.values(np, problem, stepped) >= found.value - 1e-9 * np.abs(found.value)).all()
