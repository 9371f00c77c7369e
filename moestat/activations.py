"""Activation functions with their first two derivatives, elementwise and without overflow; gates and experts share them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from moestat.kernels import functions as kernels

Array = NDArray[np.float64]
Triple = tuple[Array, Array, Array]
Activation = Callable[[Array], Triple]

HIGHEST_POWER = 12


def identity(u: Array) -> Triple:
    """`u`."""
    return u, np.ones_like(u), np.zeros_like(u)


def relu(u: Array) -> Triple:
    """`max(u, 0)`; its derivative at the kink is taken as zero."""
    above = u > 0.0
    return np.where(above, u, 0.0), above.astype(float), np.zeros_like(u)


def tanh(u: Array) -> Triple:
    """`tanh u`."""
    value, slope = kernels.tanh(u)
    return value, slope, -2.0 * value * slope


def sigmoid(u: Array) -> Triple:
    """`1/(1 + exp(-u))`."""
    half, slope = kernels.tanh(0.5 * u)
    return kernels.expit(u), 0.25 * slope, -0.25 * slope * half


def gelu(u: Array) -> Triple:
    """`u Φ(u)`."""
    v = np.clip(u, -40.0, 40.0)  # where φ is zero to rounding, so that no square overflows
    density = np.exp(-0.5 * v * v) / np.sqrt(2.0 * np.pi)
    below = ndtr(u)
    return u * below, below + v * density, (2.0 - v * v) * density


def silu(u: Array) -> Triple:
    """`u σ(u)`, `σ(u) = 1/(1 + exp(-u))`."""
    value = kernels.expit(u)
    half, slope = kernels.tanh(0.5 * u)
    v = np.clip(u, -800.0, 800.0)  # beyond, the slope of σ is zero
    return u * value, value + 0.25 * v * slope, 0.25 * slope * (2.0 - v * half)


def power(p: int) -> Activation:
    """`u^p`."""

    def function(u: Array) -> Triple:
        last = u ** (p - 2)
        return last * u * u, p * last * u, p * (p - 1) * last

    return function


ACTIVATIONS: dict[str, Activation] = {
    "identity": identity,
    "relu": relu,
    "gelu": gelu,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "silu": silu,
}


def power_of(name: str) -> int | None:
    """The p of "power:p", or None."""
    head, _, tail = name.partition(":")
    return int(tail) if head == "power" and tail.isdigit() else None


def resolve_activation(name: Any) -> Activation:
    """The function of that name: one of `ACTIVATIONS`, or "power:p" for p = 2, 3, …

    Raises
    ------
    ValueError
        If there is no such function.
    """
    if isinstance(name, str):
        p = power_of(name)
        if p is not None and 2 <= p <= HIGHEST_POWER:
            return power(p)
        if name in ACTIVATIONS:
            return ACTIVATIONS[name]
    raise ValueError(
        f"activation={name!r} is not known; give one of {list(ACTIVATIONS)}, or 'power:p' with p = 2 … {HIGHEST_POWER}."
    )
