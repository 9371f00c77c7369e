"""CPU seconds to the certified optimum beyond normal experts: moestat against NumPy EM and L-BFGS (SciPy) of the same model.

Protocol: one process, one BLAS thread, the same data and the same start. moestat (solver "auto", that start only) is timed to
its return, with the certificate; its rivals until their log-likelihood is within 1e-6 of the certified one, the exact stop
that no user has. ``-x``: it ended x lower, in 2000 iterations or in another optimum; ``cap``: out of time, and the ratio is a
lower bound. Compilation is not counted.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from benchmarks.baselines import OutOfTime, Trace
from benchmarks.families_numpy import FAMILIES, Array, Model, State
from benchmarks.harness import print_table, write_results
from moestat.fitting import FittedMixture, fit_mixture

REACHED = 1e-6  # distance in nats, of the whole sample, at which a rival may stop
MAX_ITER = 2000
SHAPES = [(1_000, 1, 2), (10_000, 1, 4), (10_000, 5, 2), (100_000, 5, 4)]


class Reached(Exception):
    """The log-likelihood of the certified optimum is reached."""


@dataclass
class Race(Trace):
    """A trace that ends at ``target``."""

    target: float = np.inf

    def record(self, loglik: float) -> None:
        """See ``Trace.record``; raises Reached at the target."""
        super().record(loglik)
        if loglik >= self.target - REACHED:
            raise Reached


@dataclass(frozen=True)
class Task:
    """Data and start of one row of the table."""

    family: str
    kind: str
    X: Array
    y: Array
    start: State

    @property
    def label(self) -> dict[str, str | int]:
        """The first columns of the row."""
        return {
            "family": self.family,
            "kind": self.kind,
            "n": len(self.X),
            "d": self.X.shape[1],
            "K": len(self.start.gate),
        }


def make(family: str, kind: str, n: int, d: int, n_experts: int, seed: int = 0) -> Task:
    """x ~ N(0, I); ``easy`` has sharp gates and experts far apart. The start is the truth, shrunken by 0.8 and perturbed."""
    kit = FAMILIES[family]
    sharp, spread = (3.0, 1.0) if kind == "easy" else (1.0, 0.6)
    design = np.random.default_rng([n_experts, d, seed])
    centres = np.linspace(-1.5, 1.5, n_experts)[:, None] if d == 1 else design.normal(size=(n_experts, d))
    gate = sharp * np.column_stack([-0.5 * np.sum(centres**2, axis=1), centres])
    gate -= kit.pinned * gate[-1]
    m = kit.n_predictors
    coef = design.normal(size=(n_experts, m, d + 1)) * kit.slope * spread / np.sqrt(d)
    for j in range(m):
        coef[:, j, 0] = spread * kit.level * design.permutation(np.linspace(-1.0, 1.0, n_experts)) + kit.centre
    truth = State(gate, coef, np.tile(kit.scalars, (n_experts, 1)))
    rng = np.random.default_rng([n, d, n_experts, int(kind == "hard"), seed])
    X = rng.normal(size=(n, d))
    features = np.vstack([np.ones(n), X.T])
    label = np.argmax(kit.log_gate(truth.gate @ features) + rng.gumbel(size=(n_experts, n)), axis=0)
    eta = np.einsum("nmq,qn->mn", truth.coef[label], features)
    y = kit.draw(eta, truth.scalars[label].T, rng)

    def near(value: Array) -> Array:
        return np.asarray(0.8 * value + 0.1 * spread * rng.normal(size=value.shape))

    moved = near(truth.gate)
    start = State(moved - kit.pinned * moved[-1], near(truth.coef), truth.scalars + kit.scalar_shift)
    return Task(family, kind, X, y, start)


def own(task: Task) -> FittedMixture:
    """moestat from the start of the task."""
    kit = FAMILIES[task.family]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_mixture(
            task.X,
            task.y,
            n_experts=len(task.start.gate),
            gate=kit.gate,
            expert=kit.expert,
            init=kit.public(task.start),
        )


def em(task: Task, trace: Trace) -> None:
    """Generalised EM: a Newton step for the gate, the family's own M-step for the experts."""
    model = Model(FAMILIES[task.family], task.X, task.y)
    at = model.at(task.start)
    for _ in range(MAX_ITER):
        at, loglik = model.em_step(at)
        trace.record(loglik)


def lbfgs(task: Task, trace: Trace) -> None:
    """SciPy's L-BFGS-B with 20 corrections on the mean log-likelihood and its exact gradient."""
    model = Model(FAMILIES[task.family], task.X, task.y)

    def objective(theta: Array) -> tuple[float, Array]:
        with np.errstate(all="ignore"):
            value, gradient = model.value_and_gradient(task.start.moved(theta, model.family.pinned))
        trace.record(value if np.isfinite(value) else -1e300)
        return (-value / model.n if np.isfinite(value) else 1e10), np.nan_to_num(-gradient / model.n)

    options = {"maxcor": 20, "ftol": 0.0, "gtol": 1e-12, "maxiter": MAX_ITER, "maxfun": 2 * MAX_ITER}
    start = task.start.vector(model.family.pinned)
    minimize(objective, start, jac=True, method="L-BFGS-B", options=options)


RIVALS: dict[str, Callable[[Task, Trace], None]] = {"EM": em, "L-BFGS": lbfgs}


def repeated(run: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Least CPU seconds of a few runs, one where it takes a tenth of a second, and what the last returned."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        best = min(best, time.process_time() - start)
        if best > 0.1:
            break
    return best, result


def compare(task: Task, cap: float) -> dict[str, Any]:
    """One row: seconds of moestat, seconds of each rival or what it lacks, and the ratio of the best rival."""
    mine, fitted = repeated(lambda: own(task))
    target = float(fitted.result.loglik)
    row: dict[str, Any] = task.label | {
        "moestat": mine,
        "optimum": target,
        "certified": fitted.result.converged,
        "iterations": {"moestat": fitted.result.n_iter},
        "seconds": {},
        "missing": {},
    }
    for name, rival in RIVALS.items():

        def race(rival: Callable[[Task, Trace], None] = rival) -> tuple[str, Race]:
            trace = Race(cap, target=target)
            try:
                rival(task, trace)
            except Reached:
                return "reached", trace
            except OutOfTime:
                return "cap", trace
            return "ended", trace

        seconds, (end, trace) = repeated(race)
        row["iterations"][name] = len(trace.logliks)
        row["seconds"][name] = seconds if end != "ended" else None
        if end != "reached":
            row["missing"][name] = ("cap" if end == "cap" else "") + f" -{target - max(trace.logliks):.2g}"
    times = {name: s for name, s in row["seconds"].items() if s is not None}
    reached = {name: s for name, s in times.items() if name not in row["missing"]}
    row["bound"] = not reached and bool(times)
    row["ratio"] = min((reached or times).values()) / mine if times and row["certified"] else None
    return row


def shown(row: dict[str, Any], name: str) -> str:
    """Milliseconds and iterations of a rival, or why it did not reach the optimum."""
    if name in row["missing"]:
        return str(row["missing"][name]).strip()
    return f"{1e3 * row['seconds'][name]:.3g}/{row['iterations'][name]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--kind", nargs="+", choices=["easy", "hard"], default=["easy", "hard"])
    parser.add_argument("--largest", type=int, default=100_000, help="no more rows than this")
    parser.add_argument("--cap", type=float, default=2.5, help="CPU seconds a rival may take")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = []
    with threadpool_limits(1):
        for family, kind in product(args.family, args.kind):
            own(make(family, kind, 600, 1, 2))  # compile or load the kernels
            for n, d, k in (shape for shape in SHAPES if shape[0] <= args.largest):
                row = compare(make(family, kind, n, d, k, args.seed), args.cap)
                rows.append(row)
                print(*row.values(), flush=True)
                write_results("families", rows, cap=args.cap, seed=args.seed)
    print()
    table = [
        [
            *(row[key] for key in ("family", "kind", "n", "d", "K")),
            *(shown(row, name) for name in RIVALS),
            f"{1e3 * row['moestat']:.3g}/{row['iterations']['moestat']}",
            "-" if row["ratio"] is None else ("> " if row["bound"] else "") + f"{row['ratio']:.1f}",
        ]
        for row in rows
    ]
    print_table(["family", "kind", "n", "d", "K", *RIVALS, "moestat", "best rival / moestat"], table)


if __name__ == "__main__":
    main()
