"""A whole fit at n = 200, K = 2, d = 1, numba warm: milliseconds (aim: under 2)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from benchmarks import own
from benchmarks.baselines import Trace, em_numpy, lbfgs_numpy
from benchmarks.harness import print_table, write_results
from benchmarks.problems import model_g
from moestat.fitting import fit_mixture


def milliseconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and minimum wall milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times)), float(np.min(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    args = parser.parse_args()
    own.warm_up()
    rows = []
    for kind in ("easy", "hard"):
        problem = model_g(kind, 200, 1, 2)
        calls: dict[str, Callable[[], object]] = {
            "fit_mixture, one start": lambda p=problem: own.fit(p),  # type: ignore[misc]
            "fit_mixture, defaults (10 starts)": lambda p=problem: fit_mixture(  # type: ignore[misc]
                p.X, p.y, n_experts=2, rng=np.random.default_rng(0)
            ),
            "NumPy EM, same start": lambda p=problem: em_numpy(p, Trace(60.0)),  # type: ignore[misc]
            "NumPy L-BFGS, same start": lambda p=problem: lbfgs_numpy(p, Trace(60.0)),  # type: ignore[misc]
        }
        for name, call in calls.items():
            median, minimum = milliseconds(call, args.repeats)
            rows.append({"model": kind, "call": name, "median_ms": median, "min_ms": minimum})
    print_table(
        ["model", "call", "median ms", "min ms"],
        [[r["model"], r["call"], f"{r['median_ms']:.2f}", f"{r['min_ms']:.2f}"] for r in rows],
    )
    write_results("small_fit", rows, repeats=args.repeats)


if __name__ == "__main__":
    main()
