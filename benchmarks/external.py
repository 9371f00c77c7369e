"""Baselines that may be absent: JAX's gradient under SciPy's L-BFGS-B, and R's flexmix."""

from __future__ import annotations

import csv
import importlib.util
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.baselines import Mixture, Trace, run_lbfgs
from benchmarks.problems import Array, Params, Problem

FLEXMIX = """
suppressMessages(library(flexmix))
args <- commandArgs(TRUE)
data <- read.csv(args[1]); start <- as.matrix(read.csv(args[2])); inputs <- setdiff(names(data), "y")
control <- list(tolerance = as.numeric(args[4]), iter.max = 5000, minprior = 0)
right <- paste(inputs, collapse = " + ")
clock <- proc.time()
fit <- flexmix(as.formula(paste("y ~", right)), data = data, k = ncol(start), cluster = start,
               concomitant = FLXPmultinom(as.formula(paste("~", right))), control = control)
seconds <- sum((proc.time() - clock)[1:2])
table <- rbind(fit@concomitant@coef, parameters(fit))
write.table(rbind(table, seconds, fit@iter), args[3], sep = ",", row.names = FALSE, col.names = FALSE)
"""


def has_jax() -> bool:
    return importlib.util.find_spec("jax") is not None


def has_flexmix() -> bool:
    """Whether R and its package flexmix answer."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        return False
    return subprocess.run([rscript, "-e", "library(flexmix)"], capture_output=True, check=False).returncode == 0


def lbfgs_jax(problem: Problem, trace: Trace) -> Params:
    """L-BFGS-B on the JAX gradient; the compilation is not on the clock."""
    from benchmarks.jax_loglik import objective

    mixture, start = Mixture(problem), problem.start.vector()
    fun = objective(mixture.features, mixture.y, "softmax", "gaussian", (mixture.k, 1, mixture.q))
    fun(start)
    trace.start = time.process_time()
    return run_lbfgs(fun, start, mixture.n, mixture.k, trace)


def flexmix_r(problem: Problem, trace: Trace, tolerance: float = 1e-10) -> Params:
    """flexmix from the responsibilities of the start; R's own CPU seconds are charged at the end."""
    mixture = Mixture(problem)
    resp = mixture.e_step(problem.start, mixture.log_gate(problem.start.gate))[1]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("data.csv", "start.csv", "fit.csv", "fit.R")]
        names = [f"x{j + 1}" for j in range(mixture.q - 1)]
        write_csv(paths[0], [*names, "y"], np.column_stack([problem.X, problem.y]))
        write_csv(paths[1], [f"r{j + 1}" for j in range(mixture.k)], resp.T)
        paths[3].write_text(FLEXMIX)
        command = ["Rscript", str(paths[3]), *map(str, paths[:3]), str(tolerance)]
        subprocess.run(command, check=True, capture_output=True, timeout=20 * trace.cap)
        table = np.loadtxt(paths[2], delimiter=",", ndmin=2)
    q = mixture.q
    params = Params(table[:q].T, table[q : 2 * q].T, table[2 * q])
    trace.seconds.append(float(table[-2, 0]))
    trace.logliks.append(mixture.e_step(params, mixture.log_gate(params.gate))[0])
    return params


def write_csv(path: Path, names: list[str], table: Array) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(table.tolist())
