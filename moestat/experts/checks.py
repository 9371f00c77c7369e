"""Checks that experts share: the degree, and responses outside a support."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from moestat.experts.base import BaseExpert

Array = NDArray[np.float64]


def check_degree(degree: Any) -> None:
    """A ValueError unless `degree` is a non-negative integer."""
    if isinstance(degree, bool) or not isinstance(degree, Integral) or degree < 0:
        raise ValueError(f"degree={degree!r} must be a non-negative integer.")


def first_bad(y: Array, bad: NDArray[np.bool_], expert: BaseExpert) -> None:
    """A ValueError that names the first row of `y (n, cols)` where `bad (n,)` holds.

    Raises
    ------
    ValueError
        If there is such a row.
    """
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        value = y[row].tolist()
        shown = value[0] if len(value) == 1 else value
        raise ValueError(f"y is {shown} in row {row}; {expert.name} experts need {expert.support}.")
