"""How often starts reach the best optimum: single tries by kind, and the default fit (numbers to beat: 0.67)."""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np

from benchmarks import own
from benchmarks.harness import print_table, write_results
from benchmarks.problems import Problem, model_g
from moestat.fitting import fit_mixture

KINDS = ("kmeans", "kmeans_x", "residuals", "random")


def one_fit(problem: Problem, seed: int, **settings: Any) -> tuple[float, float]:
    """Log-likelihood and CPU seconds of a fit from moestat's own starts; -inf where it fails."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitted = fit_mixture(
                problem.X, problem.y, n_experts=problem.n_experts, rng=np.random.default_rng(seed), **settings
            )
        except (ValueError, RuntimeError) as error:
            print(f"{settings}: {error}")
            return -np.inf, time.process_time() - start
    return float(fitted.result.loglik), time.process_time() - start


def success(problem: Problem, kinds: list[str], tries: int, fits: int) -> list[dict[str, Any]]:
    """Share of single tries of every kind, and of default fits, within half a unit of the best seen."""
    near = float(own.fit(problem).result.loglik)
    found: dict[str, list[tuple[float, float]]] = {
        f"{kind}, one try": [one_fit(problem, seed, init=kind, n_init=1) for seed in range(tries)] for kind in kinds
    }
    found["default fit"] = [one_fit(problem, seed) for seed in range(fits)]
    best = max([near, *(value for pairs in found.values() for value, _ in pairs)])
    rows = []
    for name, pairs in found.items():
        values = np.array([value for value, _ in pairs])
        rows.append(
            {
                **problem.label,
                "start": name,
                "tries": len(pairs),
                "share": float(np.mean(values >= best - 0.5)),
                "median_gap": float(best - np.median(values)),
                "near_truth_gap": best - near,
                "seconds": float(np.mean([seconds for _, seconds in pairs])),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--d", type=int, default=5)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--data", type=int, default=3, help="number of data sets")
    parser.add_argument("--tries", type=int, default=12, help="single tries of each kind")
    parser.add_argument("--fits", type=int, default=4, help="default fits")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    args = parser.parse_args()
    own.warm_up()
    rows = [
        {"data": seed, **row}
        for seed in range(args.data)
        for row in success(model_g("easy", args.n, args.d, args.k, seed), args.kinds, args.tries, args.fits)
    ]
    print_table(
        ["data", "start", "tries", "share at the best", "median gap", "CPU s a fit"],
        [
            [r["data"], r["start"], r["tries"], f"{r['share']:.2f}", f"{r['median_gap']:.2g}", f"{r['seconds']:.2f}"]
            for r in rows
        ],
    )
    write_results("starts", rows)


if __name__ == "__main__":
    main()
