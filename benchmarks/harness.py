"""Running one solver on one problem, the table, and the results file."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines import OutOfTime, Solver, Trace
from benchmarks.problems import Problem

RESULTS = Path(__file__).parent / "results"


@dataclass
class Run:
    """What one solver did on one problem."""

    solver: str
    seconds: list[float] = field(default_factory=list)
    logliks: list[float] = field(default_factory=list)
    capped: bool = False
    error: str | None = None

    @property
    def best(self) -> float:
        finite = [v for v in self.logliks if np.isfinite(v)]
        return max(finite, default=-np.inf)

    def time_to(self, target: float) -> float | None:
        """CPU seconds until the log-likelihood first is at least ``target``."""
        for seconds, loglik in zip(self.seconds, self.logliks, strict=True):
            if loglik >= target:
                return seconds
        return None

    def iterations_to(self, target: float) -> int:
        return next((i + 1 for i, v in enumerate(self.logliks) if v >= target), len(self.logliks))


def run_solver(name: str, solver: Solver, problem: Problem, cap: float, repeats: int = 3) -> Run:
    """Best of ``repeats`` runs where they are quick (below 0.5 s), else one."""
    best: Run | None = None
    for _ in range(repeats):
        trace, run = Trace(cap), Run(name)
        try:
            solver(problem, trace)
        except OutOfTime:
            run.capped = True
        except Exception as error:  # a baseline that fails is a result, not the end of the table
            run.error = f"{type(error).__name__}: {error}"
        run.seconds, run.logliks = trace.seconds, trace.logliks
        total = run.seconds[-1] if run.seconds else np.inf
        if best is None or (best.seconds and total < best.seconds[-1]):
            best = run
        if run.error or total > 0.5:
            break
    assert best is not None
    return best


def target_of(runs: Sequence[Run]) -> float:
    """Best log-likelihood of any solver, less 1e-8 of its size."""
    best = max(run.best for run in runs)
    return best - 1e-8 * abs(best)


def cell(run: Run, target: float) -> str:
    """Seconds and evaluations to the target, or why it was not reached."""
    if run.error:
        return "error"
    seconds = run.time_to(target)
    if seconds is not None:
        return f"{seconds:.3g} s/{run.iterations_to(target)}"
    spent = f" in {run.seconds[-1]:.3g} s" if run.seconds else ""
    return f"{'cap' if run.capped else 'other'} -{target - run.best:.2g}{spent}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A Markdown table on stdout."""
    table = [[str(v) for v in row] for row in [header, *rows]]
    widths = [max(len(row[j]) for row in table) for j in range(len(header))]
    for index, row in enumerate(table):
        print("| " + " | ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)) + " |")
        if index == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")


def write_results(name: str, rows: Any, **settings: Any) -> Path:
    """``benchmarks/results/<name>.json`` with the machine and the versions."""
    RESULTS.mkdir(exist_ok=True)
    versions: dict[str, str | None] = {}
    for package in ("moestat", "numpy", "scipy", "numba", "jax"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    machine = {"platform": platform.platform(), "python": platform.python_version(), "cpus": os.cpu_count()}
    stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    path = RESULTS / f"{name}.json"
    content = {"benchmark": name, "date": stamp, "machine": machine, "versions": versions, **settings, "rows": rows}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
