"""CPU seconds to the certified optimum beyond normal experts: moestat against NumPy EM and L-BFGS (SciPy, JAX) of the same model.

Protocol: one process, one thread, the same data and the same start. moestat (solver "auto", that start only) is timed to
its return, with the certificate; its rivals until their log-likelihood is within 1e-6 of the certified one, the exact stop
that no user has. ``-x``: it stopped x below the best log-likelihood of the row, by itself or after 2000 iterations, or in
another optimum; ``cap -x``: out of time, and where no rival arrived the ratio is a lower bound; ``(-x)`` beside moestat's time:
a rival passed it, as happens where the likelihood has no maximum. Compilation is not counted; the last column has JAX's CPU
milliseconds. Without JAX its column is left out.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from benchmarks.baselines import OutOfTime, Trace
from benchmarks.external import has_jax
from benchmarks.families_numpy import FAMILIES, Array, Model, State
from benchmarks.harness import print_table, write_results
from moestat.fitting import FittedMixture, fit_mixture

REACHED = 1e-6  # distance in nats, of the whole sample, at which a rival may stop
MAX_ITER = 2000
Objective = Callable[[Array], tuple[float, Array]]  # log-likelihood and gradient at a free vector
SHAPES = [(1_000, 1, 2), (10_000, 1, 4), (10_000, 5, 2), (100_000, 5, 4)]


class Reached(Exception):
    """The log-likelihood of the certified optimum is reached."""


@dataclass
class Race(Trace):
    """A trace that ends at ``target``."""

    target: float = np.inf

    def record(self, loglik: float) -> None:
        """See ``Trace.record``; raises Reached at the target, even where the cap is passed on arrival."""
        try:
            super().record(loglik)
        finally:
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

    @property
    def theta(self) -> Array:
        """The free vector of the start."""
        return self.start.vector(FAMILIES[self.family].pinned)


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


def descend(fun: Objective, task: Task, trace: Trace) -> None:
    """SciPy's L-BFGS-B with 20 corrections on the mean log-likelihood, by `fun` and its exact gradient."""
    n = len(task.y)

    def objective(theta: Array) -> tuple[float, Array]:
        with np.errstate(all="ignore"):
            value, gradient = fun(theta)
        trace.record(value if np.isfinite(value) else -1e300)
        return (-value / n if np.isfinite(value) else 1e10), np.nan_to_num(-gradient / n)

    options = {"maxcor": 20, "ftol": 0.0, "gtol": 1e-12, "maxiter": MAX_ITER, "maxfun": 2 * MAX_ITER}
    minimize(objective, task.theta, jac=True, method="L-BFGS-B", options=options)


def numpy_objective(task: Task) -> Objective:
    """Log-likelihood and gradient at a free vector, by the formulas of `families_numpy`."""
    model = Model(FAMILIES[task.family], task.X, task.y)
    return lambda theta: model.value_and_gradient(task.start.moved(theta, model.family.pinned))


def jax_objective(task: Task) -> Objective:
    """The same by JAX, from the log-likelihood alone."""
    from benchmarks.jax_loglik import objective

    kit = FAMILIES[task.family]
    model = Model(kit, task.X, task.y)
    return objective(model.features, model.y, kit.gate, kit.expert, task.start.coef.shape)


def compile_jax(task: Task) -> float:
    """CPU seconds of the first value and gradient, less those of the second."""
    import jax  # type: ignore[import-not-found,unused-ignore]

    jax.clear_caches()  # type: ignore[no-untyped-call,unused-ignore]
    fun, clock = jax_objective(task), [time.process_time()]
    for _ in range(2):
        fun(task.theta)
        clock.append(time.process_time())
    return 2.0 * clock[1] - clock[0] - clock[2]


RIVALS: dict[str, Callable[[Task, Trace], None]] = {
    "EM": em,
    "L-BFGS": lambda task, trace: descend(numpy_objective(task), task, trace),
    "L-BFGS (JAX)": lambda task, trace: descend(jax_objective(task), task, trace),
}


def left_out() -> dict[str, str]:
    """The rivals that are not installed, and why."""
    return {} if has_jax() else {"L-BFGS (JAX)": "JAX is not installed (pip install jax)"}


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


def race(rival: Callable[[Task, Trace], None], task: Task, cap: float, target: float) -> tuple[str, Race]:
    """How a rival came to its end: it "reached" the target, it "ended" by itself, or the "cap" did."""
    trace = Race(cap, target=target)
    try:
        rival(task, trace)
    except Reached:
        return "reached", trace
    except OutOfTime:
        return "cap", trace
    return "ended", trace


def compare(task: Task, cap: float, rivals: Sequence[str]) -> dict[str, Any]:
    """One row: seconds, iterations, log-likelihood and its gap to the best of every solver, and the ratio of the best rival."""
    mine, fitted = repeated(lambda: own(task))
    logliks = {"moestat": float(fitted.result.loglik)}
    seconds, iterations, ends = {"moestat": mine}, {"moestat": fitted.result.n_iter}, {}
    compiling = compile_jax(task) if "L-BFGS (JAX)" in rivals else None
    for name in rivals:
        seconds[name], (ends[name], trace) = repeated(partial(race, RIVALS[name], task, cap, logliks["moestat"]))
        iterations[name], logliks[name] = len(trace.logliks), max(trace.logliks)
    reached, capped = ([seconds[name] for name in rivals if ends[name] == end] for end in ("reached", "cap"))
    row: dict[str, Any] = dict(task.label)
    row |= {
        "status": fitted.result.status.name,
        "seconds": seconds,
        "iterations": iterations,
        "end": ends,
        "loglik": logliks,
        "gap": {name: max(logliks.values()) - value for name, value in logliks.items()},
        "compile": compiling,
        "bound": not reached and bool(capped),
        "ratio": min(reached or capped) / mine if (reached or capped) and fitted.result.converged else None,
    }
    return row


def shown(row: dict[str, Any], name: str) -> str:
    """Milliseconds and iterations of a solver, or why it did not reach the optimum."""
    end = row["end"].get(name, "reached")
    if end == "reached":
        ms = 1e3 * row["seconds"][name]
        passed = name == "moestat" and row["gap"][name] > REACHED
        lower = f" (-{row['gap'][name]:.2g})" if passed else ""
        return f"{ms:.{0 if ms >= 100.0 else 1}f} / {row['iterations'][name]}{lower}"
    return ("cap " if end == "cap" else "") + f"-{row['gap'][name]:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--kind", nargs="+", choices=["easy", "hard"], default=["easy", "hard"])
    parser.add_argument("--largest", type=int, default=100_000, help="no more rows than this")
    parser.add_argument("--cap", type=float, default=2.5, help="CPU seconds a rival may take")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    absent, rows = left_out(), []
    rivals = [name for name in RIVALS if name not in absent]
    for name, reason in absent.items():
        print(f"{name}: {reason}, left out")
    with threadpool_limits(1):
        for family, kind in product(args.family, args.kind):
            own(make(family, kind, 600, 1, 2))  # compile or load the kernels
            for n, d, k in (shape for shape in SHAPES if shape[0] <= args.largest):
                row = compare(make(family, kind, n, d, k, args.seed), args.cap, rivals)
                rows.append(row)
                print(*row.values(), flush=True)
                write_results("families", rows, cap=args.cap, seed=args.seed, left_out=absent)
    print()
    table = [
        [
            *(row[key] for key in ("family", "kind", "n", "d", "K")),
            *(shown(row, name) for name in [*rivals, "moestat"]),
            "-" if row["ratio"] is None else ("> " if row["bound"] else "") + f"{row['ratio']:.1f}",
            "-" if row["compile"] is None else f"{1e3 * row['compile']:.0f}",
        ]
        for row in rows
    ]
    header = ["family", "kind", "n", "d", "K", *rivals, "moestat", "best rival / moestat", "JAX compiles"]
    print_table(header, table)


if __name__ == "__main__":
    main()
