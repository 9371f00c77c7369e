"""Compiled row kernels, under the names of their NumPy twins in `plain.py`: those are the readable definitions, and the oracle of the tests.

Every function works on one block of rows, `(…, B)` with the rows in the inner loop, and is compiled once per machine.
Features are read from arrays `(q, n)` between the columns `start` and `stop`; block results are `(…, B)`. Additive statistics are *added* to `out`.
Only `compiled_*.py` contain numba.
"""

from moestat.kernels.compiled_functions import (
    class_log_rows,
    class_rows,
    exp_rows,
    log1p_rows,
    log_rows,
    student_t_rows,
    tanh_rows,
)
from moestat.kernels.compiled_passes import (
    e_step,
    formula_derivatives,
    gaussian_derivatives,
    gaussian_forward,
    mixture_log_density,
    multinomial_derivatives,
    sigmoid_forward,
    softmax_forward,
)
from moestat.kernels.compiled_sums import (
    cross_grams,
    gaussian_moments,
    outer_sum,
    scale_pairs,
    scale_rows,
    scaled_features,
    softmax_pairs,
    weighted_grams,
    weighted_moments,
    weighted_sum,
)

__all__ = [
    "class_log_rows",
    "class_rows",
    "cross_grams",
    "e_step",
    "exp_rows",
    "formula_derivatives",
    "gaussian_derivatives",
    "gaussian_forward",
    "gaussian_moments",
    "log1p_rows",
    "log_rows",
    "mixture_log_density",
    "multinomial_derivatives",
    "outer_sum",
    "scale_pairs",
    "scale_rows",
    "scaled_features",
    "sigmoid_forward",
    "softmax_forward",
    "softmax_pairs",
    "student_t_rows",
    "tanh_rows",
    "weighted_grams",
    "weighted_moments",
    "weighted_sum",
]
