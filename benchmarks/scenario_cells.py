"""Cells of scenarios: the certified fit from all starts against NumPy EM from the same starts to a mean tolerance of 1e-12.

``python -m benchmarks.scenario_cells [--reps R] [--sizes N,N]``: CPU seconds of both, their ratio, EM's iterations, and by how many nats its
best end is below the certified maximum (negative where the box of the scenario binds, which EM does not know).
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from benchmarks.baselines import Mixture
from benchmarks.harness import print_table, write_results
from benchmarks.problems import Params, Problem
from moestat.simulate import Cell, load_scenario
from moestat.simulate.cells import fit_cell
from moestat.simulate.models import draw_data
from moestat.simulate.seeds import stream
from moestat.simulate.starts import perturbed_truth

TOLERANCE, CAP = 1e-12, 20_000  # nats a row; iterations


def to_params(public: dict[str, Any]) -> Params:
    """Stacked coefficients, intercepts first."""
    pairs = (("gate_intercept", "gate_coef"), ("expert_intercept", "expert_coef"))
    gate, expert = (np.column_stack([public[a], public[b]]) for a, b in pairs)
    return Params(gate, expert, np.asarray(public["expert_scale"]))


def em(problem: Problem) -> tuple[float, int]:
    """Log-likelihood and iterations of EM to the tolerance."""
    mixture, params = Mixture(problem), problem.start
    log_gate, last, done = mixture.log_gate(params.gate), -np.inf, 0
    while done < CAP:
        params, log_gate, loglik = mixture.em_map(params, log_gate)
        done += 1
        finished = abs(loglik - last) <= TOLERANCE * len(problem.y)
        last = loglik
        if finished:
            break
    return last, done


def measure(name: str, fit_id: str, n: int, reps: int) -> dict[str, Any]:
    """One row of the table: medians over replicates."""
    scenario = load_scenario(name)
    fit = scenario.fit_by_id(fit_id)
    k = int(fit.experts_at(n)[0])
    rows = []
    for rep in range(reps):
        cell = Cell(fit_id, k, n, rep)
        X, y, _ = draw_data(scenario, n, rep)
        began = time.process_time()
        _, result, _ = fit_cell(scenario, cell, X, y)
        own = time.process_time() - began
        starts = perturbed_truth(scenario, fit, k, stream(scenario.root_seed, scenario.id, n, rep, "init"), n)
        began = time.process_time()
        ends = []
        for start in starts:
            params = to_params(start.params)
            ends.append(em(Problem(name, X, y, params, params)))
        seconds = time.process_time() - began
        best = max(value for value, _ in ends)
        rows.append((own, seconds, seconds / own, np.median([i for _, i in ends]), result.loglik - best, len(starts)))
    own, seconds, ratio, iterations, gap, starts = np.median(np.array(rows, dtype=float), axis=0)
    return {
        "scenario": name, "n": n, "starts": int(starts), "moestat_s": own, "em_s": seconds, "ratio": ratio,
        "em_iterations": int(iterations), "nats_below": gap,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--sizes", default="500,2000,8000")
    options = parser.parse_args()
    warm = load_scenario("softmax-gaussian-exact")
    fit_cell(warm, Cell("k2", 2, 200, 0), *draw_data(warm, 200, 0)[:2])
    rows = [
        measure(name, fit, int(n), options.reps)
        for name, fit in (("softmax-gaussian-exact", "k2"), ("softmax-gaussian-over", "k3"))
        for n in options.sizes.split(",")
    ]
    print_table(list(rows[0]), [[f"{v:.3g}" if isinstance(v, float) else v for v in row.values()] for row in rows])
    write_results("scenario_cells", rows)


if __name__ == "__main__":
    main()
