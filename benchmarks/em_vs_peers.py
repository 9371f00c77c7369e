"""CPU seconds to the certified optimum: moestat against NumPy EM, SQUAREM, L-BFGS (SciPy, JAX) and flexmix.

Protocol: one process, one thread, the same data and the same start; the optimum is the best log-likelihood that any
solver found, and a cell is the time until a solver was within 1e-8 (relative) of it. A solver that ends lower shows
``other -x`` (another local optimum) or ``cap -x`` (out of time), x being what is missing. Compilation is never counted.
``whole call`` is moestat's time to its return, with the certificate.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from typing import Any

from benchmarks import external, own
from benchmarks.baselines import Solver, em_numpy, lbfgs_numpy, squarem_numpy
from benchmarks.harness import Run, cell, print_table, run_solver, target_of, write_results
from benchmarks.problems import Problem, model_g

BASELINES: dict[str, Solver] = {"em_np": em_numpy, "squarem_np": squarem_numpy, "lbfgs_np": lbfgs_numpy}
OPTIONAL: dict[str, tuple[Callable[[], bool], Solver]] = {
    "lbfgs_jax": (external.has_jax, external.lbfgs_jax),
    "flexmix": (external.has_flexmix, external.flexmix_r),
}
OWN: dict[str, Solver] = {"moestat": own.moestat_auto, "moestat_em": own.moestat_em}
PRESETS: dict[str, dict[str, list[int]]] = {
    "smoke": {"n": [1_000], "d": [1, 5], "k": [2, 4]},
    "quick": {"n": [1_000, 10_000], "d": [1, 5, 20], "k": [2, 4]},
    "full": {"n": [1_000, 10_000, 100_000, 1_000_000], "d": [1, 5, 20], "k": [2, 4, 8]},
}


def solvers(chosen: list[str] | None = None) -> dict[str, Solver]:
    """The baselines that are installed, and moestat's solvers."""
    found = dict(BASELINES)
    for name, (available, solver) in OPTIONAL.items():
        if available():
            found[name] = solver
        else:
            print(f"{name}: not installed, left out")
    found |= OWN
    return {name: solver for name, solver in found.items() if not chosen or name in chosen}


def compare(problem: Problem, chosen: dict[str, Solver], cap: float, repeats: int) -> dict[str, Any]:
    """All solvers on one problem: cells, and the ratios that the aims are stated in."""
    runs = [run_solver(name, solver, problem, cap, repeats) for name, solver in chosen.items()]
    target = target_of(runs)
    times = {run.solver: run.time_to(target) for run in runs}
    rivals = [t for name, t in times.items() if name not in OWN and t is not None]
    mine = times.get("moestat")
    row: dict[str, Any] = dict(problem.label)
    row |= {
        "optimum": max(run.best for run in runs),
        "seconds": times,
        "missing": {run.solver: max(0.0, target - run.best) for run in runs},
        "iterations": {run.solver: run.iterations_to(target) for run in runs},
        "errors": {run.solver: run.error for run in runs if run.error},
        "whole_call": {run.solver: run.seconds[-1] for run in runs if run.solver in OWN and run.seconds},
        "best_rival_over_moestat": min(rivals) / mine if rivals and mine else None,
        "em_over_moestat": em_ratio(runs, target, mine),
        "cells": {run.solver: cell(run, target) for run in runs},
    }
    return row


def em_ratio(runs: list[Run], target: float, mine: float | None) -> float | None:
    """NumPy EM's time over moestat's; a lower bound where EM ran out of time."""
    em = next((run for run in runs if run.solver == "em_np"), None)
    if em is None or mine is None or not em.seconds:
        return None
    seconds = em.time_to(target)
    if seconds is None and not em.capped:
        return None
    return (seconds or em.seconds[-1]) / mine


def as_text(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", choices=PRESETS, default="smoke")
    parser.add_argument("--kind", nargs="+", choices=["easy", "hard"], default=["easy", "hard"])
    for name in ("n", "d", "k"):
        parser.add_argument(f"--{name}", nargs="+", type=int, help="instead of the preset's")
    parser.add_argument("--solvers", nargs="+", help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cap", type=float, default=60.0, help="CPU seconds a run may take")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--name", default="em_vs_peers", help="name of the results file")
    args = parser.parse_args()
    grid = {key: getattr(args, key) or PRESETS[args.preset][key] for key in ("n", "d", "k")}
    own.warm_up()
    chosen, rows = solvers(args.solvers), []
    for kind, n, d, k in product(args.kind, grid["n"], grid["d"], grid["k"]):
        row = compare(model_g(kind, n, d, k, args.seed), chosen, args.cap, args.repeats)
        rows.append(row)
        print(kind, n, d, k, row["cells"], as_text(row["best_rival_over_moestat"]), flush=True)
        write_results(args.name, rows, cap=args.cap, seed=args.seed)
    header = ["model", "n", "d", "K", *chosen, "whole call", "best rival / moestat", "EM / moestat"]
    table = [
        [
            *(row[key] for key in ("model", "n", "d", "K")),
            *(row["cells"][name] for name in chosen),
            f"{row['whole_call'].get('moestat', float('nan')):.3g} s",
            as_text(row["best_rival_over_moestat"]),
            as_text(row["em_over_moestat"]),
        ]
        for row in rows
    ]
    print()
    print_table(header, table)


if __name__ == "__main__":
    main()
