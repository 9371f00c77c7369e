"""A stack of fits of the same shape: data, parameters in the free vector, and the memory that a pass takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from moestat.batched.arrays import Stacked
from moestat.batched.families import Family

__all__ = ["Frame", "Problem"]

Array = Any


class Parameters(NamedTuple):
    """`gate (B, K, q)`, the last row zero; `coef (B, K, d, p)`; `log_sd (B, K)` (zeros where a family has none)."""

    gate: Array
    coef: Array
    log_sd: Array


@dataclass(frozen=True)
class Frame:
    """What all fits of a stack have in common.

    The free vector is that of `moestat.layout.Layout`: the gates of all experts but the last (none if weights are equal), the
    coefficients, then one log σ an expert, one for all, or none.

    Attributes
    ----------
    n_experts, q, p, d : int
        Experts K, features of the gate and of the experts, predictors of one expert.
    family : Family
    gate : {"softmax", "constant", "equal"}
        Scores linear in features, constant weights, weights 1/K.
    scale : {"free", "tied", "known"}
    raw : bool
        Whether features are in the user's units (as under a box) rather than orthonormal.
    """

    n_experts: int
    q: int
    p: int
    d: int
    family: Family
    gate: Literal["softmax", "constant", "equal"] = "softmax"
    scale: Literal["free", "tied", "known"] = "free"
    raw: bool = False

    @property
    def n_scored(self) -> int:
        """Experts with a gate of their own."""
        return 0 if self.gate == "equal" else self.n_experts - 1

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Free gate parameters, coefficients, free scales."""
        scales = {"free": self.n_experts, "tied": 1, "known": 0}[self.scale] if self.family.has_scale else 0
        return self.n_scored * self.q, self.n_experts * self.d * self.p, scales

    @property
    def n_params(self) -> int:
        """Length P of the free vector."""
        return sum(self.sizes)

    @property
    def width(self) -> int:
        """Parameters m of one expert in the order gate, coefficients, log σ (unless none is free)."""
        return self.q + self.d * self.p + (1 if self.sizes[2] else 0)

    @cached_property
    def tie(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """`(P, K m)`: the derivative of every expert's parameters in the free vector."""
        k, q, coefs = self.n_experts, self.q, self.d * self.p
        out = np.zeros((self.n_params, k, self.width))
        gate, means, scales = np.split(np.arange(self.n_params), np.cumsum(self.sizes)[:2])
        for e in range(k):
            if e < self.n_scored:
                out[gate[e * q : (e + 1) * q], e, np.arange(q)] = 1.0
            out[means[e * coefs : (e + 1) * coefs], e, q + np.arange(coefs)] = 1.0
            if scales.size:
                out[scales[e if self.scale == "free" else 0], e, -1] = 1.0
        return out.reshape(self.n_params, -1)


@dataclass(frozen=True)
class Problem(Stacked):
    """B fits: features `z (B, q, n)` and `phi (B, p, n)`, responses `y (B, C, n)`, bounds `(B, P)`, known `log_sd (B, K)`.

    `phi` may be the same object as `z`. `tie` is that of the frame on the device, and `block` and `rows` are problems and rows of one
    pass: they say how much memory it takes, not what comes out.
    """

    frame: Frame
    z: Array
    phi: Array
    y: Array
    low: Array
    high: Array
    log_sd: Array
    tie: tuple[Array]
    block: int
    rows: int

    @property
    def size(self) -> int:
        """Number of fits B."""
        return int(self.z.shape[0])

    @property
    def n(self) -> int:
        """Rows of each fit."""
        return int(self.z.shape[-1])

    def take(self, xp: Any, index: Array) -> Problem:
        """The problems `index`; features that are shared stay shared."""
        shared = self.phi is self.z
        out = self.map(lambda value: value if shared and value is self.phi else xp.take(value, index, axis=0))
        if not shared:
            return out
        z = xp.take(self.z, index, axis=0)
        return replace(out, z=z, phi=z)

    def unpack(self, xp: Any, theta: Array, part: slice) -> Parameters:
        """Parameters of free vectors `(B', P)` of the problems `part`."""
        f = self.frame
        a, b, _ = f.sizes
        gate = xp.zeros((theta.shape[0], f.n_experts, f.q), dtype=theta.dtype, device=theta.device)
        gate[:, : f.n_scored, :] = xp.reshape(theta[:, :a], (theta.shape[0], f.n_scored, f.q))
        coef = xp.reshape(theta[:, a : a + b], (-1, f.n_experts, f.d, f.p))
        log_sd = self.log_sd[part, :]
        if f.sizes[2]:
            log_sd = xp.broadcast_to(theta[:, a + b :], log_sd.shape)
        return Parameters(gate, coef, log_sd)

    def clip(self, xp: Any, theta: Array) -> Array:
        """Nearest points of the boxes."""
        return xp.clip(theta, self.low, self.high)
