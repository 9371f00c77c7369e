"""Special functions that the Array API standard lacks."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["log_gamma"]

Array = Any

# Stirling's series: Bernoulli numbers B_2j / (2j (2j - 1))
SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
SHIFT = 10


def log_gamma(xp: Any, x: Array) -> Array:
    """`log Γ(x)` for `x >= 1`: Stirling's series at x + 10, less the factors in between (Abramowitz & Stegun 6.1.41).

    Examples
    --------
    >>> import numpy as np
    >>> log_gamma(np, np.array([1.0, 5.0])).round(9).tolist()
    [0.0, 3.17805383]
    """
    product = x
    for step in range(1, SHIFT):
        product = product * (x + float(step))
    z = x + float(SHIFT)
    square, total = 1.0 / (z * z), 0.0 * z
    for coefficient in reversed(SERIES):
        total = total * square + coefficient
    return (z - 0.5) * xp.log(z) - z + 0.5 * math.log(2.0 * math.pi) + total / z - xp.log(product)
