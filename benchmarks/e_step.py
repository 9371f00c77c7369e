"""One E-step with all M-step statistics: nanoseconds a row, against vectorised NumPy, on one and two threads."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.baselines import Mixture
from benchmarks.harness import print_table, write_results
from benchmarks.problems import Problem, model_g
from moestat.mixture import ConditionalMixture
from moestat.objective import Objective


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Least wall seconds of ``repeats`` calls after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def own_pass(problem: Problem, n_jobs: int) -> tuple[Callable[[], Any], float]:
    """moestat's EM pass at the problem's start, and its log-likelihood there."""
    mixture = ConditionalMixture(gate="softmax", expert="gaussian", params=problem.start.public())
    single, theta = mixture.objective(problem.X, problem.y)
    objective = Objective(single.rows, single.layout, floor=single.floor, n_jobs=n_jobs)
    return lambda: objective.em_pass(theta), float(objective.em_pass(theta).value)


def measure(problem: Problem, repeats: int) -> dict[str, Any]:
    baseline = Mixture(problem)
    one, value = own_pass(problem, 1)
    two, value_two = own_pass(problem, 2)
    expected = baseline.em_pass(problem.start)[0]
    if not (np.isclose(value, expected, rtol=1e-10) and value == value_two):
        raise RuntimeError(f"passes disagree: NumPy {expected}, one thread {value}, two threads {value_two}")
    row: dict[str, Any] = dict(problem.label)
    times = {
        "numpy": seconds(lambda: baseline.em_pass(problem.start), repeats),
        "one": seconds(one, repeats),
        "two": seconds(two, repeats),
    }
    n = len(problem.y)
    row |= {f"{name}_ns_per_row": 1e9 * value / n for name, value in times.items()}
    return row | {"numpy_over_one": times["numpy"] / times["one"], "one_over_two": times["one"] / times["two"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", nargs="+", type=int, default=[100_000])
    parser.add_argument("--d", nargs="+", type=int, default=[1, 5, 20])
    parser.add_argument("--k", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    rows = [measure(model_g("easy", n, d, k), args.repeats) for n in args.n for d in args.d for k in args.k]
    columns = ["numpy_ns_per_row", "one_ns_per_row", "two_ns_per_row", "numpy_over_one", "one_over_two"]
    print_table(
        ["n", "d", "K", "NumPy ns/row", "1 thread", "2 threads", "NumPy / 1 thread", "1 / 2 threads"],
        [[r["n"], r["d"], r["K"], *(f"{r[c]:.3g}" for c in columns)] for r in rows],
    )
    write_results("e_step", rows)


if __name__ == "__main__":
    main()
