"""moestat's column: whole calls of ``fit_mixture``, certificate included, with numba already loaded."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from benchmarks.baselines import Trace
from benchmarks.problems import Params, Problem, model_g
from moestat.fitting import FittedMixture, fit_mixture


def warm_up(n_jobs: int = 1) -> None:
    """Compile or load every kernel that the benchmarks touch."""
    for d, k in ((1, 2), (5, 4)):
        problem = model_g("easy", 400, d, k)
        fit(problem, n_jobs=n_jobs)
        fit_mixture(problem.X, problem.y, n_experts=k, rng=np.random.default_rng(0), n_init=2, n_jobs=n_jobs)


def fit(problem: Problem, **settings: Any) -> FittedMixture:
    """``fit_mixture`` from the problem's start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_mixture(
            problem.X, problem.y, n_experts=len(problem.truth.scale), init=problem.start.public(), **settings
        )


def to_params(fitted: FittedMixture) -> Params:
    found = fitted.mixture.params
    gate = np.column_stack([found["gate_intercept"], found["gate_coef"]])
    expert = np.column_stack([found["expert_intercept"], found["expert_coef"]])
    return Params(gate, expert, np.asarray(found["expert_scale"]))


def moestat_auto(problem: Problem, trace: Trace) -> Params:
    """The default solver; the time charged is the whole call's, not the time at which the target was passed."""
    return charged(problem, trace, "auto")


def moestat_em(problem: Problem, trace: Trace) -> Params:
    """moestat's own EM, for the comparison of like with like."""
    return charged(problem, trace, "em")


def charged(problem: Problem, trace: Trace, solver: str) -> Params:
    limit = {} if solver == "auto" else {"max_iter": 20_000}
    trace.start = time.process_time()
    fitted = fit(problem, solver=solver, **limit)
    seconds = time.process_time() - trace.start
    # one entry an iteration, all at the end of the call
    trace.seconds.extend([seconds] * max(1, int(fitted.result.n_iter)))
    trace.logliks.extend([-np.inf] * (max(1, int(fitted.result.n_iter)) - 1))
    trace.logliks.append(float(fitted.result.loglik))
    return to_params(fitted)
