"""exp, log, log1p, tanh and what they make, of arrays: compiled where a fit has loaded the compiled kernels, NumPy's otherwise; equal to two ulp."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.kernels import plain

Array = NDArray[np.float64]

SMALL = 512  # entries below which the call of a compiled function costs more than it saves


def exp(x: Array) -> Array:
    """`exp x` for x <= 709; complex numbers pass."""
    return _compiled("exp_rows", np.exp, x)


def log(x: Array) -> Array:
    """`log x` for positive normal numbers."""
    return _compiled("log_rows", np.log, x)


def log1p(x: Array) -> Array:
    """`log(1 + x)` for -1 < x < 1e300; complex numbers pass."""
    return _compiled("log1p_rows", np.log1p, x)


def expit(x: Array) -> Array:
    """`1/(1 + exp(-x))`, to a small relative error at both ends."""
    small = exp(-np.abs(x))
    return np.asarray(np.where(x < 0.0, small, 1.0) / (1.0 + small))


def tanh(x: Array) -> tuple[Array, Array]:
    """`tanh x` and its derivative `1 - tanh² x`, both to a small relative error where the latter is above 1e-303."""
    rows = kernel("tanh_rows", x)
    if rows is None:
        small = np.exp(-2.0 * np.abs(x))
        return np.tanh(x), 4.0 * small / (1.0 + small) ** 2
    flat = np.ascontiguousarray(x).reshape(-1)
    out = np.empty((2, flat.size))
    rows(flat, *out)
    value, slope = out.reshape(2, *x.shape)
    return value, slope


def log_total(z: Array) -> Array:
    """`log Σ_k exp z_k` over the first axis, where the largest `z` is zero: its digits are kept also where all others are low."""
    terms, below = exp(z), z.real < 0.0
    return log1p((terms * below).sum(axis=0) + ((terms * ~below).sum(axis=0) - 1.0))


def mixture_log_density(level: Array, mean: Array, precision: Array, y: Array) -> Array:
    """Log-densities (q,N) at responses (q,N) of normal components (q,K): logarithms of weight over scale, means, inverse scales."""
    kernels: Any = sys.modules.get("moestat.kernels.fast") or plain
    out = np.empty_like(y)
    kernels.mixture_log_density(*map(np.ascontiguousarray, (level, mean, precision, y)), out)
    return out


def _compiled(name: str, otherwise: Callable[[Array], Array], x: Array) -> Array:
    rows = kernel(name, x)
    if rows is None:
        return otherwise(x)
    flat = np.ascontiguousarray(x).reshape(-1)
    out = np.empty_like(flat)
    rows(flat, out)
    return out.reshape(x.shape)


def kernel(name: str, x: Array) -> Any:
    """The compiled function of rows, if it pays: predictions alone do not load the compiled kernels, which takes longer than they do."""
    rows = getattr(sys.modules.get("moestat.kernels.fast"), name, None)
    return None if np.size(x) < SMALL or x.dtype != np.float64 else rows
