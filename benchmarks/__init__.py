"""Timings of moestat against competent baselines: same data, same start, same optimum, one process.

Every module runs alone, for example ``python -m benchmarks.em_vs_peers --preset smoke``; it prints a table and writes
JSON under ``benchmarks/results``. Times are process CPU seconds with one BLAS thread, set here before NumPy loads.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
