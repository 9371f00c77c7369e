"""The engine's passes over a block of rows for experts that are formulas on points; their M-step is a Newton step."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moestat.linalg import mirror

if TYPE_CHECKING:
    from moestat.blocks import Block

Array = NDArray[np.float64]

CURVATURE = 1e-8  # smallest share of the largest curvature (scaled to a unit diagonal) that a Newton step divides by


class FormulaBlocks:
    """Block passes from `log_density` and `derivatives`, the same for every family."""

    tied: bool
    log_density: Any
    derivatives: Any
    scale_limits: Any
    scale_index: Any

    def forward(self, coef: Array, scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType) -> None:
        """Fill the workspace's `log_density (K, B)` with log f and `kept (d, K, B)` with the predictors."""
        a, b, eta = block.start, block.stop, ws["kept"]
        np.matmul(coef.transpose(1, 0, 2), block.expert_features[:, a:b], out=eta)
        if block.offset.size:
            eta[0] += block.offset[a:b]
        ws["log_density"][...] = self.log_density(block.y[:, a:b], eta, extra_of(scale))

    def slopes(self, y: Array, eta: Array, extra: Array) -> Array:
        """The first of `derivatives` alone; a family gives a formula where that saves time."""
        return np.asarray(self.derivatives(y, eta, extra)[0])

    def weighted_derivatives(
        self, scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType
    ) -> tuple[Array, Array]:
        """See `BaseExpert.weighted_derivatives`."""
        slope, bend = self.derivatives(block.y[:, block.start : block.stop], ws["kept"], extra_of(scale))
        slope, bend = np.ascontiguousarray(slope), np.ascontiguousarray(bend)
        kernels.formula_derivatives(slope, bend, ws["resp"], ws["first"], ws["second"])
        return ws["first"], ws["second"]

    def weighted_slopes(self, scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType) -> Array:
        """See `BaseExpert.weighted_slopes`."""
        slope = self.slopes(block.y[:, block.start : block.stop], ws["kept"], extra_of(scale))
        return np.multiply(slope, ws["resp"], out=ws["first"])

    def accumulators(self, n_experts: int, n_predictors: int, q: int) -> dict[str, Array]:
        """Zero sums of gradient and Hessian of `Σ r log f` in each expert's coefficients and scalars, and its value."""
        d = n_predictors
        c = self.scale_index(n_experts, d).shape[1]
        return {
            "moments": np.zeros((n_experts, 1)),
            "expert_value": np.zeros(n_experts),
            "slope": np.zeros((d, n_experts, q)),
            "scalar_slope": np.zeros((c, n_experts)),
            "mean_mean": np.zeros((d * (d + 1) // 2, n_experts, q, q)),
            "scale_mean": np.zeros((c, d, n_experts, q)),
            "scale_scale": np.zeros((c * (c + 1) // 2, n_experts)),
        }

    def add_statistics(
        self, acc: dict[str, Array], scale: Array, block: Block, ws: dict[str, Array], kernels: ModuleType
    ) -> None:
        """Add a block; `resp` in the workspace is weighted."""
        a, b, phi, resp = block.start, block.stop, block.expert_features, ws["resp"]
        slope, bend = self.derivatives(block.y[:, a:b], ws["kept"], extra_of(scale))
        first, second = np.multiply(slope, resp, out=ws["first"]), np.multiply(bend, resp, out=ws["second"])
        d = len(ws["kept"])
        acc["moments"][:, 0] += resp.sum(axis=1)
        acc["expert_value"] += (resp * np.where(resp > 0.0, ws["log_density"], 0.0)).sum(axis=1)
        position = 0
        for i in range(len(first)):
            if i < d:
                kernels.weighted_moments(phi, first[i], a, b, acc["slope"][i])
            else:
                acc["scalar_slope"][i - d] += first[i].sum(axis=1)
            for j in range(i + 1):
                weighted = second[position]
                if i < d:
                    kernels.weighted_grams(phi, weighted, a, b, acc["mean_mean"][position])
                elif j < d:
                    kernels.weighted_moments(phi, weighted, a, b, acc["scale_mean"][i - d, j])
                else:
                    acc["scale_scale"][(i - d) * (i - d + 1) // 2 + j - d] += weighted.sum(axis=1)
                position += 1

    def maximise(
        self, coef: Array, scale: Array, acc: dict[str, Array], floor: Array, step: float = 1.0
    ) -> tuple[Array, Array]:
        """A Newton step of the given length on `Σ r log f`, an ascent direction also where it is not concave.

        For a canonical link this is iteratively reweighted least squares (McCullagh & Nelder 1989, section 2.5). Scalars stay within
        their limits; an expert without responsibility keeps its parameters.
        """
        k, d, q = coef.shape
        c = scale.shape[1]
        gradient = np.concatenate([acc["slope"].transpose(1, 0, 2).reshape(k, d * q), acc["scalar_slope"].T], axis=1)
        hessian = np.zeros((k, d * q + c, d * q + c))
        mean_mean = mirror(acc["mean_mean"])
        position = 0
        for i in range(d):
            for j in range(i + 1):
                hessian[:, i * q : (i + 1) * q, j * q : (j + 1) * q] = mean_mean[position]
                hessian[:, j * q : (j + 1) * q, i * q : (i + 1) * q] = mean_mean[position]
                position += 1
        for i in range(c):
            row = d * q + i
            for j in range(d):
                hessian[:, row, j * q : (j + 1) * q] = acc["scale_mean"][i, j]
                hessian[:, j * q : (j + 1) * q, row] = acc["scale_mean"][i, j]
            for j in range(i + 1):
                hessian[:, row, d * q + j] = hessian[:, d * q + j, row] = acc["scale_scale"][i * (i + 1) // 2 + j]
        index = self.scale_index(k, d)
        shared = int((index == index[0]).all(axis=0).sum()) if k > 1 and self.tied else 0
        if shared:
            move = _tied_ascent(gradient, hessian, shared)
        else:
            gradient[:, d * q :][index < 0] = 0.0
            move = np.stack([ascent(g, h) for g, h in zip(gradient, hessian, strict=True)])
        move[:, d * q :][index < 0] = 0.0
        length = step if step > 0.0 else 1e-2
        low, high = self.scale_limits(floor)
        new = np.where(index < 0, scale, np.clip(scale + length * move[:, d * q :], low, high))
        return coef + length * move[:, : d * q].reshape(k, d, q), new


def extra_of(scale: Array) -> Array:
    """Scalars `(K, c)` in the layout of formulas, `(c, K, 1)`."""
    return scale.T[:, :, None]


def ascent(gradient: Array, hessian: Array) -> Array:
    """`|H|⁻¹ g` with the absolute eigenvalues of the Hessian after scaling to a unit diagonal; flat directions stay."""
    if not (np.isfinite(gradient).all() and np.isfinite(hessian).all()):
        return np.zeros_like(gradient)
    diagonal = np.abs(np.diag(hessian))
    largest = float(diagonal.max(initial=0.0))
    if largest == 0.0:
        return np.zeros_like(gradient)
    size = np.sqrt(np.maximum(diagonal, 1e-14 * largest))
    values, vectors = np.linalg.eigh(-hessian / size / size[:, None])
    along = vectors.T @ (gradient / size)
    return np.asarray(vectors @ (along / np.maximum(np.abs(values), CURVATURE * np.abs(values).max())) / size)


def _tied_ascent(gradient: Array, hessian: Array, c: int) -> Array:
    """One step for all experts together, whose last c scalars are equal."""
    k, p = gradient.shape
    linear = p - c
    join = np.zeros((k * p, k * linear + c))
    for e in range(k):
        join[e * p : e * p + linear, e * linear : (e + 1) * linear] = np.eye(linear)
        join[e * p + linear : (e + 1) * p, k * linear :] = np.eye(c)
    full = np.zeros((k * p, k * p))
    for e in range(k):
        full[e * p : (e + 1) * p, e * p : (e + 1) * p] = hessian[e]
    move = ascent(join.T @ gradient.ravel(), join.T @ full @ join)
    return np.asarray((join @ move).reshape(k, p))
