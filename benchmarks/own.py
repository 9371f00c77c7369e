"""moestat's column: calls of ``fit_mixture`` from the given start, with numba already loaded."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from benchmarks.baselines import OutOfTime, Trace
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
        return fit_mixture(problem.X, problem.y, n_experts=problem.n_experts, init=problem.start.public(), **settings)


def to_params(fitted: FittedMixture) -> Params:
    found = fitted.mixture.params
    gate = np.column_stack([found["gate_intercept"], found["gate_coef"]])
    expert = np.column_stack([found["expert_intercept"], found["expert_coef"]])
    return Params(gate, expert, np.asarray(found["expert_scale"]))


def moestat_auto(problem: Problem, trace: Trace) -> Params:
    """The default solver."""
    return charged(problem, trace, "auto")


def moestat_em(problem: Problem, trace: Trace) -> Params:
    """moestat's own EM, for the comparison of like with like."""
    return charged(problem, trace, "em")


def charged(problem: Problem, trace: Trace, solver: str) -> Params:
    """One entry an iteration, and a last one for the whole call with the certificate."""
    clock: list[tuple[float, float]] = []
    trace.start = time.process_time()

    def callback(_: int, value: float) -> None:
        clock.append((time.process_time() - trace.start, value))
        if clock[-1][0] > trace.cap:
            raise OutOfTime

    limit = {} if solver == "auto" else {"max_iter": 1_000_000}
    fitted = fit(problem, solver=solver, callback=callback, **limit)
    seconds = time.process_time() - trace.start
    loglik = float(fitted.result.loglik)
    # the callback's values may lack the constant that belongs to the units of y
    shift = loglik - max((value for _, value in clock), default=0.0)
    trace.seconds.extend([*(t for t, _ in clock), seconds])
    trace.logliks.extend([*(value + shift for _, value in clock), loglik])
    return to_params(fitted)
