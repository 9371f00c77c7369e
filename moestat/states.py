"""Joint choices of one expert from each of several groups: their numbering, and which experts each of them uses."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def check_sizes(sizes: Any) -> tuple[int, ...] | None:
    """Group sizes as a tuple, or None; a ValueError unless they are one or more integers of at least one."""
    if sizes is None:
        return None
    found: tuple[Any, ...] = tuple(sizes) if isinstance(sizes, (list, tuple)) else ()
    if not found or any(isinstance(m, bool) or not isinstance(m, (int, np.integer)) or m < 1 for m in found):
        raise ValueError(
            f"sizes={sizes!r} must be a list or tuple of integers of at least 1, the experts of each group."
        )
    return tuple(int(m) for m in found)


def sizes_for(sizes: tuple[int, ...] | None, n_experts: int) -> tuple[int, ...]:
    """The group sizes for K experts, one group of all without any; a ValueError unless they have K joint choices."""
    if sizes is None:
        return (n_experts,)
    if prod(sizes) != n_experts:
        raise ValueError(
            f"sizes={sizes} have {prod(sizes)} joint choices for n_experts={n_experts}: K is the product of the sizes."
        )
    return sizes


def groups(sizes: tuple[int, ...]) -> list[slice]:
    """The experts of each group among all E, the sum of the sizes."""
    return [slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0))]


def incidence(sizes: tuple[int, ...]) -> Array:
    """Which of the E experts each of the K joint choices uses, `(K, E)` of zeros and ones; the last group's choice changes fastest.

    Examples
    --------
    >>> incidence((2, 2)).astype(int)
    array([[1, 0, 1, 0],
           [1, 0, 0, 1],
           [0, 1, 1, 0],
           [0, 1, 0, 1]])
    """
    chosen = np.indices(sizes).reshape(len(sizes), -1)  # (P, K)
    return np.concatenate([np.eye(m)[row] for m, row in zip(sizes, chosen, strict=True)], axis=1)
