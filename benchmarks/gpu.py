"""Searches per second of stacked fits (NumPy, PyTorch, CuPy; processor and GPU) against the compiled code, one by one and on processes.

A search goes from a start of the scenario to its certified end; data, coordinates and starts are made before the clock runs. The clock
of a processor counts the seconds of its cores (of all threads), so that other work on the machine matters little; that of a GPU is the wall's.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import print_table, write_results
from moestat.batched.namespace import compat, resolve_device
from moestat.batched.stacking import Job, solve_jobs
from moestat.linalg import one_blas_thread
from moestat.simulate import load_scenario
from moestat.simulate.models import draw_data, expert_of, gate_of
from moestat.simulate.seeds import stream
from moestat.simulate.starts import perturbed_truth
from moestat.solvers.multistart import auto

MODELS = {"softmax-gaussian-exact": ("k2", 2), "softmax-gaussian-over": ("k3", 3)}
TOL, MAX_ITER = 1e-8, 1000


def jobs_of(name: str, n: int, reps: range) -> list[Job]:
    """The first round of starts of some replicates."""
    scenario, (fit_id, n_experts) = load_scenario(name), MODELS[name]
    fit, jobs = scenario.fit_by_id(fit_id), []
    for rep in reps:
        X, y, _ = draw_data(scenario, n, rep)
        jobs.append(Job.build(X, y, n_experts, gate_of(scenario, fit), expert_of(scenario, fit), raw=True))
        rng = stream(scenario.root_seed, scenario.id, n, rep, "init")
        jobs[-1].set_starts(perturbed_truth(scenario, fit, n_experts, rng, n))
    return jobs


def one_by_one(jobs: list[Job]) -> None:
    """The compiled code."""
    with one_blas_thread(), np.errstate(all="ignore"):
        for job in jobs:
            for start, bounds in zip(job.starts, job.bounds, strict=True):
                job.objective.bounds = bounds
                auto(job.objective, start, tol=TOL, max_iter=MAX_ITER)


def rate(
    jobs: list[Job], call: Callable[[list[Job]], Any], repeats: int, clock: Callable[[], float] = time.process_time
) -> float:
    """Searches per second, the best of some repeats; once before the clock runs, to compile."""
    call(jobs[:2])
    best = 0.0
    for _ in range(repeats):
        start = clock()
        call(jobs)
        best = max(best, sum(len(job.starts) for job in jobs) / (clock() - start))
    return best


def worker(name: str, n: int, reps: range, repeats: int) -> float:
    """The rate of one process among others."""
    return rate(jobs_of(name, n, reps), one_by_one, repeats)


def processes(name: str, n: int, reps: int, repeats: int) -> float:
    """The sum of the rates of all cores at work at once."""
    from joblib import Parallel, delayed

    cores = os.cpu_count() or 1
    parts = [range(i, reps, cores) for i in range(cores)]
    return float(sum(Parallel(n_jobs=cores)(delayed(worker)(name, n, part, repeats) for part in parts)))


def backends() -> tuple[dict[str, tuple[Any, Any]], list[str]]:
    """Libraries and devices that are there, and why others are not."""
    found, missing = {"NumPy": resolve_device("cpu")}, []
    if importlib.util.find_spec("torch") and importlib.util.find_spec("array_api_compat"):
        found["PyTorch, cpu"] = (compat("torch"), "cpu")
    else:
        missing.append("PyTorch, cpu: not installed (pip install torch array-api-compat)")
    try:
        found["cuda"] = resolve_device("cuda")
    except ValueError as reason:
        missing.append(f"cuda: {reason}")
    return found, missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[200, 500, 2000])
    parser.add_argument("--reps", type=int, default=40, help="replicates; a GPU needs thousands of searches to be busy")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    found, missing = backends()
    rows = []
    for name in MODELS:
        for n in args.n:
            jobs = jobs_of(name, n, range(args.reps))
            row: dict[str, Any] = {"scenario": name, "n": n, "searches": sum(len(job.starts) for job in jobs)}
            row["one by one"] = rate(jobs, one_by_one, args.repeats)
            row["processes"] = processes(name, n, args.reps, args.repeats)
            for label, (xp, device) in found.items():

                def stacked(part: list[Job], xp: Any = xp, device: Any = device) -> None:
                    solve_jobs(xp, device, part, tol=TOL, max_iter=MAX_ITER)

                clock = time.perf_counter if label == "cuda" else time.process_time
                row[label] = rate(jobs, stacked, args.repeats, clock)
            rows.append(row)
    print_table(list(rows[0]), [[f"{v:.0f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows])
    for reason in missing:
        print(f"skipped: {reason}")
    write_results("gpu", rows, reps=args.reps, repeats=args.repeats, cores=os.cpu_count(), skipped=missing)


if __name__ == "__main__":
    main()
