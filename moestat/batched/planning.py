"""How many fits are in memory at once, and how many problems and rows one pass takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moestat.batched.namespace import available_bytes, on_host
from moestat.batched.problem import Frame

__all__ = ["Plan", "plan"]

SHARE = 0.5  # of the free memory
CACHED = 2**22  # bytes of one pass on a processor, so that its arrays stay in the cache
NUMBER = 8  # bytes


@dataclass(frozen=True)
class Plan:
    """Fits in memory at once, and problems and rows of one pass over them."""

    fits: int
    block: int
    rows: int


def plan(frame: Frame, n: int, n_fits: int, like: Any, memory: int | None = None) -> Plan:
    """The plan for `n_fits` fits of n rows on the device of `like`.

    Data and quadratic models take at most half of the free memory (or of `memory` bytes) and one pass another quarter; on a processor a
    pass takes no more than its cache. Fits of more rows than a pass may take go through it in blocks of rows.

    Raises
    ------
    ValueError
        If not even one fit is within the memory.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.batched.families import Gaussian
    >>> plan(Frame(2, 2, 2, 1, Gaussian()), 200, 10_000, np.empty(0), memory=2**26).fits
    1188
    """
    free = available_bytes(like) if memory is None else memory
    width, p = frame.n_experts * frame.width, frame.n_params
    row = NUMBER * (3 * width + frame.n_experts * (frame.d * frame.d * frame.p + 8 * frame.d + 8))
    resident = NUMBER * (2 * n * (frame.q + frame.p + frame.d + 1) + 12 * p * p + 2 * width * width + 20 * p)
    fits = int(SHARE * free // resident)
    if not fits:
        raise ValueError(
            f"one fit of {n} rows and {p} parameters takes {resident / 2**20:.0f} MiB, more than half of the "
            f"{free / 2**20:.0f} MiB that are free; use moestat.fitting.fit_mixture, which needs no copies."
        )
    reach = min(CACHED, free // 4) if on_host(like) else free // 4
    rows = min(n, max(int(reach // row), 256))
    return Plan(min(fits, max(n_fits, 1)), max(1, int(reach // (row * rows))), rows)
