"""Coordinates of stacked fits on the device: orthonormal features and standardised responses, or the user's own under a box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

from moestat.batched.arrays import transposed
from moestat.batched.families import Gaussian
from moestat.batched.problem import Frame

__all__ = ["Units", "monomials"]

Array = Any
Params = Mapping[str, Array]

DEPENDENT = 1e-10  # share of a column's norm that must be left beside the columns before it
LOWEST = 1e-3  # smallest standard deviation of an expert in those of y: the root of fit_mixture's variance_floor


def monomials(xp: Any, X: Array, degree: int) -> Array:
    """Monomials `(R, q, n)` of `X (R, n, d)` up to a total degree, the constant first, in graded lexicographic order."""
    columns = [X[:, :, j] for j in range(X.shape[2])]
    out = [xp.ones_like(columns[0])]
    for order in range(1, degree + 1):
        for which in combinations_with_replacement(range(len(columns)), order):
            product = columns[which[0]]
            for j in which[1:]:
                product = product * columns[j]
            out.append(product)
    return xp.stack(out, axis=1)


@dataclass(frozen=True)
class Units:
    """Features `z (R, q, n)` and `phi (R, p, n)`, responses `y (R, C, n)`, and how to go between raw and internal parameters.

    `gate_root (R, q, q)` and `root (R, p, p)` are upper triangular: the internal coefficients of raw ones c are `root c`. None in raw
    units. Responses are `(y - center) / scale`, both `(R,)`.
    """

    frame: Frame
    z: Array
    phi: Array
    y: Array
    gate_root: Array | None
    root: Array | None
    center: Array
    scale: Array
    deviation: Array

    @classmethod
    def choose(cls, xp: Any, X: Array, y: Array, frame: Frame, degree: int) -> Units:
        """Units of data `X (R, n, d)`, `y (R, C, n)`.

        Raises
        ------
        ValueError
            If features are linearly dependent, or a Gaussian response is constant.
        """
        gate_degree = 1 if frame.gate == "softmax" else 0
        z, gate_root = _features(xp, monomials(xp, X, gate_degree), frame.raw)
        phi, root = (z, gate_root) if degree == gate_degree else _features(xp, monomials(xp, X, degree), frame.raw)
        center, deviation = xp.mean(y[:, 0, :], axis=-1), xp.std(y[:, 0, :], axis=-1)
        scale = xp.ones_like(center)
        if not isinstance(frame.family, Gaussian):
            return cls(frame, z, phi, y, gate_root, root, xp.zeros_like(center), scale, scale)
        if frame.sizes[2] and bool(xp.any(deviation <= 1e-12 * xp.abs(center))):
            raise ValueError(
                "y is constant in a replicate: the likelihood of Gaussian experts with free variance is unbounded there."
            )
        if frame.raw:
            center = xp.zeros_like(center)
        else:
            scale = xp.where(deviation > 0.0, deviation, 1.0)
        y = (y - center[:, None, None]) / scale[:, None, None]
        return cls(frame, z, phi, y, gate_root, root, center, scale, deviation)

    def theta(self, xp: Any, params: Params) -> Array:
        """Free vectors `(R, S, P)` of raw parameters `(R, S, K, …)`, the last gate subtracted."""
        gate = params["gate_intercept"]
        shifted = {"gate_intercept": gate - gate[:, :, -1:]}
        if "gate_coef" in params:
            shifted["gate_coef"] = params["gate_coef"] - params["gate_coef"][:, :, -1:, :]
        return self.packed(xp, {**params, **shifted}, xp.mean)

    def bounds(self, xp: Any, params: Params, side: int) -> Array:
        """Lower (`side` 0) or upper bounds `(R, S, P)` of the free vectors in raw units; those of a tied scale all hold."""
        free = replace(self, gate_root=None, root=None)
        if "expert_scale" in params:
            params = {**params, "expert_scale": xp.clip(params["expert_scale"], 1e-300, None)}
        theta = free.packed(xp, params, xp.min if side else xp.max)
        first = sum(self.frame.sizes[:2])
        if side or not self.frame.sizes[2]:
            return theta
        low = xp.log(LOWEST * self.deviation / self.scale)[:, None, None]
        scales = theta[:, :, first:]
        return xp.concat([theta[:, :, :first], xp.where(scales > low, scales, low)], axis=2)

    def packed(self, xp: Any, params: Params, tied: Any) -> Array:
        """Free vectors `(R, S, P)`; `tied` makes one number of several log σ."""
        f = self.frame
        parts = []
        if f.n_scored:
            gate = params["gate_intercept"][..., None]
            if f.gate == "softmax":
                gate = xp.concat([gate, params["gate_coef"]], axis=-1)
            parts.append(_times(xp, gate, self.gate_root)[:, :, : f.n_scored, :])
        coef = params["expert_intercept"][..., None]
        if f.p > 1:
            coef = xp.concat([coef, params["expert_coef"]], axis=-1)
        if coef.ndim == 4:
            coef = coef[:, :, :, None, :]
        parts.append(_times(xp, self._standardised(xp, coef), self.root))
        if f.sizes[2]:
            log_sd = xp.log(params["expert_scale"]) - xp.log(self.scale)[:, None, None]
            parts.append(tied(log_sd, axis=-1, keepdims=True) if f.scale == "tied" else log_sd)
        return xp.concat([xp.reshape(part, (*part.shape[:2], -1)) for part in parts], axis=2)

    def params(self, xp: Any, theta: Array, known: Array) -> dict[str, Array]:
        """Raw parameters `(R, S, K, …)` of free vectors `(R, S, P)`; the last gate is zero, `known (R, K)` are log σ, internal units."""
        f = self.frame
        a, b, _ = f.sizes
        r, s, k = theta.shape[0], theta.shape[1], f.n_experts
        gate = xp.zeros((r, s, k, f.q), dtype=theta.dtype, device=theta.device)
        gate[:, :, : f.n_scored, :] = xp.reshape(theta[:, :, :a], (r, s, f.n_scored, f.q))
        gate = _divided(xp, gate, self.gate_root)
        coef = _divided(xp, xp.reshape(theta[:, :, a : a + b], (r, s, k, f.d, f.p)), self.root)
        coef = coef * self.scale[:, None, None, None, None]
        coef = xp.concat([coef[..., :1] + self.center[:, None, None, None, None], coef[..., 1:]], axis=-1)
        if f.d == 1:
            coef = coef[:, :, :, 0, :]
        out = {"gate_intercept": gate[..., 0], "expert_intercept": coef[..., 0], "expert_coef": coef[..., 1:]}
        if f.gate == "softmax":
            out["gate_coef"] = gate[..., 1:]
        if f.family.has_scale:
            log_sd = theta[:, :, a + b :] if f.sizes[2] else known[:, None, :]
            out["expert_scale"] = xp.broadcast_to(xp.exp(log_sd) * self.scale[:, None, None], (r, s, k))
        return out

    def _standardised(self, xp: Any, coef: Array) -> Array:
        coef = xp.concat([coef[..., :1] - self.center[:, None, None, None, None], coef[..., 1:]], axis=-1)
        return coef / self.scale[:, None, None, None, None]


def _features(xp: Any, raw: Array, keep: bool) -> tuple[Array, Array | None]:
    """Orthonormal features `(R, q, n)` (mean square one) and the root of the raw ones in them; the raw ones if they are kept."""
    if keep:
        return raw, None
    size = float(raw.shape[-1]) ** 0.5
    q, r = xp.linalg.qr(transposed(raw))
    norms = xp.sqrt(xp.sum(raw**2, axis=-1))
    if bool(xp.any(xp.abs(xp.linalg.diagonal(r)) <= DEPENDENT * norms)):
        raise ValueError(
            "the features of a replicate are constant or linearly dependent; drop columns or lower the degree."
        )
    return transposed(q) * size, r / size


def _times(xp: Any, coef: Array, root: Array | None) -> Array:
    """`root c` for coefficients `(R, …, q)`."""
    if root is None:
        return coef
    flat = xp.reshape(coef, (coef.shape[0], -1, coef.shape[-1]))
    return xp.reshape(xp.matmul(flat, transposed(root)), coef.shape)


def _divided(xp: Any, coef: Array, root: Array | None) -> Array:
    """`root⁻¹ c`."""
    if root is None:
        return coef
    flat = xp.reshape(coef, (coef.shape[0], -1, coef.shape[-1]))
    return xp.reshape(transposed(xp.linalg.solve(root, transposed(flat))), coef.shape)
