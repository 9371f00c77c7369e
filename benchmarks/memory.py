"""Peak memory of a fit at n = 10^7, d = 5, K = 4, as a multiple of the data's own (aim: within 1.5)."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import print_table, write_results

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> int:
    """Bytes of a field of /proc/self/status: VmRSS now, VmHWM the peak."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"{STATUS} has no {field}: this benchmark needs Linux")


def child(n: int, d: int, n_experts: int, n_jobs: int, max_iter: int) -> None:
    """In a process of its own: data, then the fit, with the peak counted from before the data exist."""
    from benchmarks import own
    from benchmarks.problems import Params, Problem, model_g, simulate

    own.warm_up(n_jobs)
    small = model_g("easy", 1000, d, n_experts)
    before = resident("VmRSS")
    rng = np.random.default_rng(0)
    X = np.empty((n, d))
    for first in range(0, n, 100_000):
        block = X[first : first + 100_000]
        block[:] = rng.normal(size=block.shape)
    y = simulate(small.truth, X, rng)
    problem = Problem("easy", X, y, small.truth, Params(small.start.gate, small.start.expert, small.start.scale))
    CLEAR.write_text("5")  # forget the peak so far
    loaded, clock = resident("VmRSS"), time.process_time()
    fitted = own.fit(problem, n_jobs=n_jobs, max_iter=max_iter)
    result = {
        "n": n,
        "d": d,
        "K": n_experts,
        "n_jobs": n_jobs,
        "data_bytes": X.nbytes + y.nbytes,
        "loaded_bytes": loaded - before,
        "peak_bytes": resident("VmHWM") - before,
        "seconds": time.process_time() - clock,
        "loglik": float(fitted.result.loglik),
        "status": str(fitted.result.status.value),
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("n", 10_000_000), ("d", 5), ("k", 4), ("n-jobs", 1), ("max-iter", 1000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.n, args.d, args.k, args.n_jobs, args.max_iter)
        return
    command = [sys.executable, "-m", "benchmarks.memory", "--child", *sys.argv[1:]]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    row = json.loads(output.splitlines()[-1])
    row["peak_over_data"] = row["peak_bytes"] / row["data_bytes"]
    row["extra_over_data"] = (row["peak_bytes"] - row["loaded_bytes"]) / row["data_bytes"]
    print_table(
        ["n", "d", "K", "data MB", "peak MB", "peak / data", "extra / data", "CPU s"],
        [
            [
                row["n"],
                row["d"],
                row["K"],
                f"{row['data_bytes'] / 1e6:.0f}",
                f"{row['peak_bytes'] / 1e6:.0f}",
                f"{row['peak_over_data']:.2f}",
                f"{row['extra_over_data']:.2f}",
                f"{row['seconds']:.1f}",
            ]
        ],
    )
    write_results("memory", [row])


if __name__ == "__main__":
    main()
