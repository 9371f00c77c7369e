"""Sums over rows from predictor space to parameters: weighted products of Jacobians, and their places in a Hessian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moestat.layout import Layout

Array = NDArray[np.float64]


def grams(left: Array, weight: Array, right: Array) -> Array:
    """`Σ_b weight left rightᵀ` for Jacobians `(…, p, B)`, `(…, q, B)` and weights `(…, B)`, broadcast: `(…, p, q)`."""
    return np.asarray(np.matmul(left * weight[..., None, :], right.swapaxes(-1, -2)))


def add_experts(hessian: Array, pairs: Array, jac: Array, bent: Array | None, layout: Layout) -> None:
    """Add the experts' own blocks; `pairs (m (m+1)/2, K, B)` are weighted, `bent (d, K, q, q)` is the predictors' curvature."""
    k, d, q, c = layout.n_experts, layout.n_predictors, layout.q_expert, layout.n_scale
    n_gate, n_coef = layout.sizes[:2]
    jac = np.broadcast_to(jac, (d, k, q, jac.shape[-1]))

    def mean(e: int, a: int) -> slice:
        return slice(n_gate + (e * d + a) * q, n_gate + (e * d + a + 1) * q)

    position = 0
    for i in range(d + c):
        for j in range(i + 1):
            if i < d:
                blocks = grams(jac[i], pairs[position], jac[j])  # (K, q, q)
                for e in range(k):
                    hessian[mean(e, i), mean(e, j)] += blocks[e]
                    if i != j:
                        hessian[mean(e, j), mean(e, i)] += blocks[e].T
            elif j < d:
                moments = np.einsum("kqb,kb->kq", jac[j], pairs[position])
                for e in range(k):
                    row = n_gate + n_coef + e * c + i - d
                    hessian[row, mean(e, j)] += moments[e]
                    hessian[mean(e, j), row] += moments[e]
            else:
                sums = pairs[position].sum(axis=1)
                for e in range(k):
                    row, column = n_gate + n_coef + e * c + i - d, n_gate + n_coef + e * c + j - d
                    hessian[row, column] += sums[e]
                    if i != j:
                        hessian[column, row] += sums[e]
            position += 1
    if bent is not None:
        for a in range(d):
            for e in range(k):
                hessian[mean(e, a), mean(e, a)] += bent[a, e]
