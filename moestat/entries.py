"""Reading the entries of a parameter dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def read_array(params: Mapping[str, Any], name: str) -> Array:
    """A finite float array of the dictionary.

    Raises
    ------
    ValueError
        If it is missing, not numeric, or not finite.
    """
    if name not in params:
        raise ValueError(f"params lacks {name!r}; it has {sorted(params)}.")
    try:
        value = np.array(params[name], dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"params[{name!r}] must be a numeric array; got {params[name]!r}.") from error
    if not np.isfinite(value).all():
        raise ValueError(f"params[{name!r}] must be finite; got {value}.")
    return value


def read_entry(params: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Array:
    """A finite float array of that shape; see `read_array`.

    Raises
    ------
    ValueError
        Also if the shape is another one.
    """
    value = read_array(params, name)
    if value.shape != shape:
        raise ValueError(f"params[{name!r}] has shape {value.shape}; expected {shape}.")
    return value


def n_columns(n_monomials: int, degree: int, name: str) -> int:
    """Number of columns whose polynomial of this degree has `n_monomials` coefficients besides the constant."""
    if degree == 0:
        return 0
    d = 0
    while comb(d + degree, degree) - 1 < n_monomials:
        d += 1
    if comb(d + degree, degree) - 1 != n_monomials:
        raise ValueError(
            f"{name} has {n_monomials} columns, which is no number of monomials of degree 1…{degree}; "
            f"{d} columns of X would give {comb(d + degree, degree) - 1}."
        )
    return d
