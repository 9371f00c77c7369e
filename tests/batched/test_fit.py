"""Fits of stacks against fits one by one: the same ends from the same starts, on every library, in any company."""

from dataclasses import replace

import numpy as np
import pytest

import moestat as ms
from moestat.batched import BatchResult, fit_batch
from moestat.batched.namespace import namespace, to_host
from moestat.batched.newton import CODES
from moestat.batched.solve import solve
from moestat.batched.stacking import reported, solve_jobs
from moestat.experts.gaussian import GaussianExpert
from moestat.fitting import fit_mixture
from moestat.search import Start
from moestat.solvers.base import Status
from moestat.solvers.multistart import auto

from .stacked import FAMILIES, family_jobs, scenario_jobs, simulated, whole
from .test_objective import backend, closest  # noqa: F401

# The parameters of a maximiser are determined to 1e-8 only where its information is regular: cells of the polynomial scenario
# are those whose gate does not separate the data.
CELLS = [
    ("softmax-gaussian-exact", "k2", 2, 200, [0, 1, 2], 1e-8),
    ("softmax-gaussian-exact", "k2", 2, 800, [0, 1], 1e-8),
    ("softmax-gaussian-over", "k3", 3, 250, [0, 1], 1e-8),
    ("polynomial-mendes-jiang", "k0", 4, 500, [0, 1], 1e-2),
    ("polynomial-mendes-jiang", "k3", 2, 500, [0], 1e-2),
]


def raw_starts(starts, keys):
    """Starts of R replicates with S starts each as arrays `(R, S, K, …)`."""
    return {key: np.stack([np.stack([start.params[key] for start in those]) for those in starts]) for key in keys}


@pytest.mark.parametrize(("name", "fit_id", "n_experts", "n", "reps", "tol"), CELLS)
def test_ends_are_those_of_the_compiled_path(name, fit_id, n_experts, n, reps, tol):
    jobs, problems = scenario_jobs(name, fit_id, n_experts, n, reps)
    found = solve_jobs(np, "cpu", jobs, tol=tol, max_iter=1500)
    for job, ends, (X, y, starts, gate, expert) in zip(jobs, found, problems, strict=True):
        for start, bounds, theta, value, status in zip(
            job.starts, job.bounds, ends.theta, ends.value, ends.status, strict=True
        ):
            job.objective.bounds = bounds
            run = auto(job.objective, start, tol=tol, max_iter=1500)
            if run.status is Status.CERTIFIED:
                assert CODES[status] is Status.CERTIFIED
                assert value == pytest.approx(run.state.value, rel=1e-9)
                assert np.allclose(theta, run.state.theta, rtol=1e-8, atol=1e-8)
        mine = reported(job, ends, tol, fixed_order=any(s.box is not None for s in starts)).result
        theirs = fit_mixture(X, y, n_experts, gate=gate, expert=expert, init=starts, tol=tol, max_iter=1500).result
        assert mine.status is theirs.status is Status.CERTIFIED
        assert mine.certificate.certified
        assert mine.certificate.n_agree == theirs.certificate.n_agree
        assert mine.loglik == pytest.approx(theirs.loglik, rel=1e-9)
        assert len(mine.active_bounds) == len(theirs.active_bounds)


@pytest.mark.parametrize(("name", "d"), [*((name, 1) for name in FAMILIES if name != "equal"), ("quadratic", 2)])
def test_fit_batch_in_raw_parameters(name, d):
    gate, expert = FAMILIES[name]
    data = [simulated(name, 300, d=d, seed=seed) for seed in range(3)]
    unknown = {"known": ("expert_coef", "expert_scale"), "constant": ("gate_coef",)}.get(name, ())
    starts = raw_starts([[start] for *_, start in data], set(data[0][2].params) - set(unknown))
    settings = {"quadratic": {"degree": 2}, "known": {"degree": 0, "variance": 0.5}, "tied": {"variance": "tied"}}
    X, y = np.stack([x for x, *_ in data]), np.stack([y for _, y, _ in data])
    result = fit_batch(X, y, starts, gate=gate.name, expert=expert.name, **settings.get(name, {}))
    assert bool(result.certified.all())
    for i, (x, response, start) in enumerate(data):
        fitted = fit_mixture(x, response, 2, gate=gate, expert=expert, init=start.params)
        # where the maximum is at infinity (separated classes) two searches stop on the way there, not at one point
        close = {"rel": 1e-9} if fitted.result.status is Status.CERTIFIED else {"abs": 1e-6}
        assert float(result.loglik[i, 0]) == pytest.approx(fitted.result.loglik, **close)
        mine = ms.ConditionalMixture(gate, expert, {key: value[i, 0] for key, value in result.params.items()})
        if fitted.result.status is Status.CERTIFIED:
            for key, value in in_order(fitted.mixture).items():
                assert np.allclose(in_order(mine)[key], value, rtol=1e-8, atol=1e-8), key


def in_order(mixture):
    """Parameters of a mixture with its experts sorted by intercept."""
    first = mixture.params["expert_intercept"].reshape(mixture.n_experts, -1)[:, 0]
    return mixture.permuted(np.argsort(first)).params


def exact(n=150, reps=3):
    """Data and starts with boxes of the exact scenario as arrays, for `fit_batch`."""
    _, problems = scenario_jobs("softmax-gaussian-exact", "k2", 2, n, range(reps))
    starts = [those for _, _, those, _, _ in problems]
    arrays = raw_starts(starts, starts[0][0].params)
    box = {key: starts[0][0].box[key] for key in starts[0][0].box}
    return np.stack([p[0] for p in problems]), np.stack([p[1] for p in problems]), arrays, box, problems


@pytest.mark.parametrize("variance", ["free", "tied"])
def test_boxes_hold_and_agree_with_fit_mixture(variance):
    X, y, starts, box, problems = exact()
    box["expert_scale"] = (np.array([0.2, 0.38]), np.inf)
    result = fit_batch(X, y, starts, box=box, variance=variance)
    assert float(result.params["expert_scale"][:, :, 1].min()) == pytest.approx(0.38, abs=1e-15)
    for i, (x, response, those, gate, _) in enumerate(problems):
        inits = [replace(start, box=box) for start in those]
        expert = GaussianExpert(variance=variance)
        fitted = fit_mixture(x, response, 2, gate=gate, expert=expert, init=inits)
        best = int(result.best()[i])
        assert result.certified[i, best]
        assert float(result.loglik[i, best]) == pytest.approx(fitted.result.loglik, rel=1e-9)
        assert closest(result.params["expert_coef"][i, best], fitted.mixture.params["expert_coef"]) < 1e-8
        assert int(result.n_agree()[i]) == fitted.result.certificate.n_agree


def test_every_library_and_device(backend):  # noqa: F811
    X, y, starts, box, _ = exact(n=80, reps=2)
    expected = fit_batch(X, y, starts, box=box)
    xp, device = backend

    def place(value):
        return xp.asarray(np.array(value, dtype=float), device=device)

    box = {key: tuple(place(np.broadcast_to(side, starts[key].shape)) for side in pair) for key, pair in box.items()}
    # on array-api-strict's second device every transfer to the host is an error
    result = fit_batch(place(X), place(y), {key: place(value) for key, value in starts.items()}, box=box)
    assert namespace(result.loglik) == namespace(place(y))
    assert np.array_equal(to_host(result.certified), expected.certified)
    good = expected.certified & (np.abs(expected.loglik - expected.loglik.max(axis=1, keepdims=True)) < 1e-4)
    assert good.any(axis=1).all()
    assert closest(to_host(result.loglik)[good], expected.loglik[good]) < 1e-12
    for key, value in expected.params.items():
        assert closest(to_host(result.params[key])[good], value[good]) < 1e-8
    assert np.array_equal(to_host(result.best()) >= 0, [True, True])


def test_company_does_not_matter():
    """One fit alone, all at once, in small blocks, and in stacks of a few searches: the same ends."""
    jobs, _ = scenario_jobs("softmax-gaussian-over", "k3", 3, 120, [0, 1])
    problem, theta = whole(jobs)
    together = solve(np, problem, theta)
    assert (together.status == CODES.index(Status.CERTIFIED)).all()
    assert len(set(together.n_iter.tolist())) > 3  # searches leave the stack at different times
    blocks = solve(np, replace(problem, block=2, rows=50), theta)
    some = solve_jobs(np, "cpu", jobs, tol=1e-8, max_iter=1000, memory=600_000)
    some = {name: np.concatenate([ends.arrays()[name] for ends in some]) for name in some[0].arrays()}
    alone = [solve(np, problem.take(np, np.array([i])), theta[i : i + 1]) for i in range(problem.size)]
    alone = {name: np.concatenate([ends.arrays()[name] for ends in alone]) for name in alone[0].arrays()}
    regular = (together.status == 0) & (together.eigenvalue > 1e-4)
    assert regular.sum() > 10
    for other in (blocks.arrays(), some, alone):
        assert np.array_equal(other["status"], together.status)
        assert closest(other["value"][regular], together.value[regular]) < 1e-12
        assert closest(other["theta"][regular], together.theta[regular]) < 1e-8


def test_jobs_on_another_device(backend):  # noqa: F811
    """Searches of jobs are placed on the device once, and their ends come back as NumPy arrays."""
    jobs, _ = scenario_jobs("softmax-gaussian-over", "k3", 3, 100, [0])
    xp, device = backend
    (expected,), (found,) = (solve_jobs(*where, jobs, tol=1e-8, max_iter=1000) for where in ((np, "cpu"), (xp, device)))
    assert np.array_equal(found.status, expected.status)
    assert closest(found.value, expected.value) < 1e-12
    assert closest(found.theta, expected.theta) < 1e-7


def test_small_memory_makes_several_stacks():
    from moestat.batched.stacking import stacks

    jobs = family_jobs("gaussian", n=100, reps=5)
    sizes = [problem.size for problem, _ in stacks(np, "cpu", jobs, memory=120_000)]
    assert sum(sizes) == 5
    assert len(sizes) > 1
    with pytest.raises(ValueError, match="one fit of 100 rows"):
        list(stacks(np, "cpu", jobs, memory=10_000))


def test_degenerate_ends_do_not_count():
    """A spike has the higher likelihood; the sound end is reported, as by `fit_mixture`."""
    (job,) = family_jobs("gaussian", n=40, reps=1)
    gate, expert = FAMILIES["gaussian"]
    X, y, start = simulated("gaussian", 40)
    line = np.polyfit(X[:2, 0], y[:2], 1)  # through two rows
    spike = dict(start.params, expert_coef=start.params["expert_coef"].copy(), expert_scale=np.array([1e-4, 1.0]))
    spike["expert_coef"][0], spike["expert_intercept"] = line[0], np.array([line[1], 0.0])
    both = [start, Start(spike)]
    job.set_starts(both)
    (ends,) = solve_jobs(np, "cpu", [job], tol=1e-8, max_iter=1000, short=6)
    mine = reported(job, ends, 1e-8, fixed_order=True).result
    theirs = fit_mixture(X, y, 2, gate=gate, expert=expert, init=both).result
    assert ends.value[1] > ends.value[0] + 1.0
    assert mine.status is theirs.status
    assert mine.loglik == pytest.approx(theirs.loglik, rel=1e-9)
    assert (mine.certificate.n_agree, len(mine.starts)) == (theirs.certificate.n_agree, len(theirs.starts)) == (1, 1)


def test_status_of_hopeless_searches():
    X, y, starts, _, _ = exact(n=80, reps=2)
    limited = fit_batch(X, y, starts, max_iter=1)
    assert limited.status_of(0, 0) is Status.MAX_ITER
    assert not bool(limited.certified.any())
    wild = {key: value.copy() for key, value in starts.items()}
    wild["expert_intercept"][0, 0] = 1e200  # its squares overflow
    result = fit_batch(X, y, wild)
    assert result.status_of(0, 0) is Status.NONFINITE
    assert np.isnan(result.loglik[0, 0])
    assert int(result.best()[0]) != 0
    assert set(CODES) == set(BatchResult.CODES)


def test_classes_as_codes_and_as_counts():
    X, y, start = simulated("multinomial", 200)
    starts = raw_starts([[start]], start.params)
    codes = fit_batch(X[None], y[None], starts, expert="multinomial")
    counts = np.stack([y == c for c in range(3)], axis=-1).astype(float)
    same = fit_batch(X[None], counts[None], starts, expert="multinomial")
    assert float(codes.loglik[0, 0]) == float(same.loglik[0, 0])
    double = fit_batch(X[None], 2.0 * counts[None], starts, expert="multinomial")
    mixture = ms.ConditionalMixture(
        "softmax", FAMILIES["multinomial"][1], {k: v[0, 0] for k, v in double.params.items()}
    )
    assert float(double.loglik[0, 0]) == pytest.approx(mixture.log_density(X, 2.0 * counts).sum(), rel=1e-12)


X, Y = np.linspace(-1.0, 1.0, 20).reshape(1, 20, 1), np.sin(np.arange(20.0))[None]
GOOD = {
    "gate_coef": np.zeros((1, 1, 2, 1)), "gate_intercept": np.zeros((1, 1, 2)), "expert_coef": np.ones((1, 1, 2, 1)),
    "expert_intercept": np.zeros((1, 1, 2)), "expert_scale": np.ones((1, 1, 2)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": "topk"}, r"gate='topk' is not known here"),
        ({"expert": "gamma"}, r"expert='gamma' is not known here"),
        ({"degree": -1}, "degree=-1 must be an integer"),
        ({"degree": 2}, r"starts\['expert_coef'\] has shape \(1, 1, 2, 1\); expected \(1, 1, 2, 2\)"),
        ({"variance": -1.0}, "variance=-1.0 must be"),
        ({"variance": 0.5}, r"starts have \['expert_scale'\]"),
        ({"tol": 0.0}, "tol=0.0 must be positive"),
        ({"max_iter": 0}, "max_iter=0 must be a positive integer"),
        ({"X": X[0]}, r"X has shape \(20, 1\); expected \(R, n, d\)"),
        ({"X": X.astype(np.float32)}, "X is float32; fits need float64"),
        ({"X": X[:, :1], "y": Y[:, :1]}, "1 rows are fewer than the 2 experts"),
        ({"X": np.ones_like(X)}, "constant or linearly dependent"),
        ({"y": Y[:, :19]}, r"y has shape \(1, 19\); expected \(1, 20\)"),
        ({"y": np.full((1, 20), np.nan)}, "y contains NaN"),
        ({"y": np.ones((1, 20))}, "y is constant in a replicate"),
        ({"y": Y.tolist()}, "y is a list, X a ndarray"),
        ({"expert": "poisson", "starts": {k: v for k, v in GOOD.items() if k != "expert_scale"}}, "must hold counts"),
        ({"starts": {k: v for k, v in GOOD.items() if k != "gate_coef"}}, r"starts lack \['gate_coef'\]"),
        ({"starts": GOOD | {"gate_intercept": np.zeros((2, 1, 2))}}, r"expected \(R, S, K\) with R = 1"),
        ({"box": {"gate": (0.0, 1.0)}}, r"box\['gate'\] must be a pair"),
        ({"box": {"gate_intercept": (1.0, 0.0)}}, "a lower bound exceeds its upper bound"),
    ],
)
def test_what_is_refused(change, message):
    arguments = {"X": X, "y": Y, "starts": GOOD} | change
    with pytest.raises(ValueError, match=message):
        fit_batch(**arguments)


def test_other_things_are_no_arrays():
    with pytest.raises(ValueError, match="no array of an Array API library"):
        fit_batch([[1.0]], Y, GOOD)


def test_one_expert_is_least_squares(rng):
    x = rng.normal(50.0, 3.0, (4, 60, 2))  # far from zero: features are orthonormal inside
    y = x[:, :, 0] - 2.0 * x[:, :, 1] + rng.standard_normal((4, 60))
    one = np.ones((4, 1, 1))
    starts = {
        "gate_coef": 0.0 * np.ones((4, 1, 1, 2)), "gate_intercept": 0.0 * one, "expert_coef": np.zeros((4, 1, 1, 2)),
        "expert_intercept": 0.0 * one, "expert_scale": one,
    }  # fmt: skip
    result = fit_batch(x, y, starts)
    for i in range(4):
        design = np.column_stack([np.ones(60), x[i]])
        beta, rss = np.linalg.lstsq(design, y[i])[:2]
        assert np.allclose(result.params["expert_coef"][i, 0, 0], beta[1:], rtol=1e-10)
        assert np.allclose(result.params["expert_intercept"][i, 0, 0], beta[0], rtol=1e-9)
        assert np.allclose(result.params["expert_scale"][i, 0, 0], np.sqrt(rss[0] / 60), rtol=1e-10)
        expected = -30.0 * (np.log(2.0 * np.pi * rss[0] / 60) + 1.0)
        assert result.loglik[i, 0] == pytest.approx(expected, rel=1e-12)
    assert bool(result.certified.all())
