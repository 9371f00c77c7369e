"""Over-fitted models: how far EM's customary stops are from the maximiser, and what moestat needs to reach it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import own
from benchmarks.baselines import Solver, Trace, em_numpy, lbfgs_numpy, loglik
from benchmarks.harness import print_table, write_results
from benchmarks.problems import Params, Problem, sgame


def em_until(tol: float, max_iter: int) -> Solver:
    def solve(problem: Problem, trace: Trace) -> Params:
        return em_numpy(problem, trace, tol=tol, max_iter=max_iter)

    return solve


STOPS: dict[str, Solver] = {
    "NumPy EM, rel 1e-6": em_until(1e-6, 2000),
    "NumPy EM, 300 iterations": em_until(0.0, 300),
    "NumPy EM, 1500 iterations": em_until(0.0, 1500),
    "NumPy L-BFGS": lbfgs_numpy,
}


def distance(params: Params, truth: Params) -> float:
    """Largest distance of a fitted expert's line to the nearest true line."""
    gaps = np.linalg.norm(params.expert[:, None] - truth.expert[None], axis=2)
    return float(gaps.min(axis=1).max())


def measured(name: str, problem: Problem, solve: Callable[[], tuple[Params, dict[str, Any]]]) -> dict[str, Any]:
    start = time.process_time()
    params, more = solve()
    seconds = time.process_time() - start
    return {
        "stop": name,
        "seconds": seconds,
        "loglik": loglik(problem, params),
        "distance": distance(params, problem.truth),
        **more,
    }


def replicate(n: int, n_experts: int, seed: int) -> list[dict[str, Any]]:
    """All stops of one replicate, with what each lacks to the best log-likelihood from this start."""
    problem = sgame(n, n_experts, seed)

    def own_fit() -> tuple[Params, dict[str, Any]]:
        fitted = own.fit(problem)
        certificate = fitted.result.certificate
        more = {"decrement": float(certificate.decrement), "certified": bool(certificate.certified)}
        return own.to_params(fitted), more | {"iterations": int(fitted.result.n_iter)}

    rows = []
    for name, solver in STOPS.items():
        trace = Trace(600.0)
        row = measured(name, problem, lambda s=solver, t=trace: (s(problem, t), {}))  # type: ignore[misc]
        rows.append(row | {"iterations": len(trace.logliks)})
    rows.append(measured("moestat auto", problem, own_fit))
    best = max(row["loglik"] for row in rows)
    label = {"n": n, "K": n_experts, "rep": seed}
    return [label | row | {"short": best - row["loglik"]} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--reps", type=int, default=3)
    args = parser.parse_args()
    own.warm_up()
    rows = [row for seed in range(args.reps) for row in replicate(args.n, args.k, seed)]
    print_table(
        ["rep", "stop", "CPU s", "iterations", "short by", "expert-truth distance", "decrement"],
        [
            [
                row["rep"],
                row["stop"],
                f"{row['seconds']:.3f}",
                row["iterations"],
                f"{row['short']:.2g}",
                f"{row['distance']:.3f}",
                f"{row['decrement']:.1e}" if "decrement" in row else "",
            ]
            for row in rows
        ],
    )
    write_results("over_fitted", rows, n=args.n, n_experts=args.k)


if __name__ == "__main__":
    main()
