"""Stacks for the tests: jobs of simulated data, with the compiled objective of each search beside them."""

from dataclasses import replace

import numpy as np

import moestat as ms
from moestat.batched.stacking import Job, stacks
from moestat.experts.gaussian import GaussianExpert
from moestat.experts.multinomial import MultinomialExpert
from moestat.experts.poisson import PoissonExpert
from moestat.gates.constant import ConstantGate
from moestat.gates.softmax import SoftmaxGate
from moestat.search import Start
from moestat.simulate import Cell, load_scenario
from moestat.simulate.models import draw_data, expert_of, gate_of
from moestat.simulate.seeds import stream
from moestat.simulate.starts import equal_cells, perturbed_truth

FAMILIES = {
    "gaussian": (SoftmaxGate(), GaussianExpert()),
    "quadratic": (SoftmaxGate(), GaussianExpert(degree=2)),
    "tied": (SoftmaxGate(), GaussianExpert(variance="tied")),
    "known": (SoftmaxGate(), GaussianExpert(degree=0, variance=0.5)),
    "constant": (ConstantGate(), GaussianExpert()),
    "equal": (ConstantGate(equal=True), GaussianExpert(variance="tied")),
    "poisson": (SoftmaxGate(), PoissonExpert()),
    "multinomial": (SoftmaxGate(), MultinomialExpert(n_classes=3)),
}


def simulated(name, n, n_experts=2, d=1, seed=0):
    """Data of a family and a start near their truth."""
    gate, expert = FAMILIES[name]
    rng = np.random.default_rng([seed, n, n_experts])
    X = rng.uniform(-1.0, 1.0, (n, d))
    p = expert_width = {0: 0, 1: d, 2: d + d * (d + 1) // 2}[expert.degree]
    k = n_experts
    classes = (2,) if name == "multinomial" else ()
    params = {
        "gate_intercept": np.append(rng.normal(0.0, 0.3, k - 1), 0.0),
        "expert_intercept": rng.normal(0.0, 1.0, (k, *classes)),
        "expert_coef": rng.normal(0.0, 1.0, (k, *classes, expert_width))
        + 2.0 * np.arange(k).reshape(k, *[1] * (1 + len(classes))),
    }
    if gate.degree:
        params["gate_coef"] = np.vstack([rng.normal(0.0, 2.0, (k - 1, d)), np.zeros((1, d))])
    if isinstance(expert, GaussianExpert):
        params["expert_scale"] = np.full(k, 0.5)
    if not p:
        del params["expert_coef"]
    if getattr(gate, "equal", False):
        del params["gate_intercept"]
    truth = ms.ConditionalMixture(gate, expert, params, n_features=d)
    y = truth.sample(X, rng).reshape(n)
    moved = truth.with_free_vector(truth.free_vector() + 0.1 * rng.standard_normal(truth.free_vector().size))
    return X, y, Start(moved.params)


def family_jobs(name, n=120, n_experts=2, d=1, reps=3):
    """Jobs of one start each."""
    gate, expert = FAMILIES[name]
    jobs = []
    for seed in range(reps):
        X, y, start = simulated(name, n, n_experts, d, seed)
        jobs.append(Job.build(X, y, n_experts, gate, expert, raw=False))
        jobs[-1].set_starts([start])
    return jobs


def scenario_jobs(name, fit_id, n_experts, n, reps):
    """Jobs of a scenario's first round of starts, and their data and starts for `fit_mixture`."""
    scenario = load_scenario(name)
    fit = scenario.fit_by_id(fit_id)
    jobs, problems = [], []
    for rep in reps:
        cell = Cell(fit_id, n_experts, n, rep)
        X, y, _ = draw_data(scenario, cell.n, cell.rep)
        rng = stream(scenario.root_seed, scenario.id, n, rep, "init")
        perturbed = scenario.starts_of(fit).kind == "perturbed-truth"
        starts = (
            perturbed_truth(scenario, fit, n_experts, rng, n)
            if perturbed
            else equal_cells(X, y, scenario, fit, n_experts, rng)
        )
        gate, expert = gate_of(scenario, fit), expert_of(scenario, fit)
        jobs.append(Job.build(X, y, n_experts, gate, expert, raw=fit.box is not None))
        jobs[-1].set_starts(starts)
        problems.append((X, y, starts, gate, expert))
    return jobs, problems


def whole(jobs, xp=np, device="cpu", block=None, rows=None):
    """All searches as one problem, with blocks of these sizes, and their starts."""
    ((problem, theta),) = stacks(xp, device, jobs)
    return replace(problem, block=block or problem.block, rows=rows or problem.rows), theta
