"""Formulas of the D-variate normal density in its predictors: the means and the precision's Cholesky factor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LOG_ROOT_2PI = 0.9189385332046727418


def whiten(factors: Array, residual: Array) -> Array:
    """`z = Lᵀ e`, `(D, K, B)`, for factors `L (K, D, D)` and residuals `e (D, K, B)`."""
    return np.asarray(np.einsum("kij,ikb->jkb", factors, residual, optimize=True))


def forward(factors: Array, coef: Array, features: Array, y: Array, out: Array, residual: Array) -> None:
    """`log N(y; coef φ, (L Lᵀ)^-1) = Σ_d log L_dd - ½|Lᵀ(y - coef φ)|² - D/2 log 2π`."""
    for d in range(len(y)):
        residual[d] = y[d] - coef[:, d] @ features
    z = whiten(factors, residual)
    log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1) - len(y) * LOG_ROOT_2PI
    out[...] = log_det[:, None] - 0.5 * (z * z).sum(axis=0)


def derivatives(factors: Array, residual: Array, resp: Array, full: bool) -> tuple[Array, Array]:
    """Derivatives in (means, scale parameters), multiplied by resp; see `GaussianExpert.derivatives`.

    With `z = Lᵀe`: `∂/∂μ = L z`; `∂/∂L_ij = -z_j e_i + δ_ij / L_ii`; the diagonal is parametrised by `ρ_i = -log L_ii`, so that
    `∂/∂ρ_i = -L_ii ∂/∂L_ii` and `∂²/∂ρ_i² = L_ii² ∂²/∂L_ii² + L_ii ∂/∂L_ii`.
    """
    n_responses, n_experts, width = residual.shape
    z = whiten(factors, residual)
    pairs = [(i, j) for i in range(n_responses) for j in range(i + 1)] if full else [(i, i) for i in range(n_responses)]
    m = n_responses + len(pairs)
    slope = np.empty((len(pairs), n_experts, 1))  # dL_ij / d(parameter)
    for s, (i, j) in enumerate(pairs):
        slope[s, :, 0] = -factors[:, i, i] if i == j else 1.0
    gradient = np.empty((m, n_experts, width))
    gradient[:n_responses] = np.einsum("kij,jkb->ikb", factors, z, optimize=True)
    raw = np.empty((len(pairs), n_experts, width))
    for s, (i, j) in enumerate(pairs):
        raw[s] = -z[j] * residual[i]
        if i == j:
            raw[s] += 1.0 / factors[:, i, i][:, None]
        gradient[n_responses + s] = raw[s] * slope[s]
    precision = factors @ np.swapaxes(factors, 1, 2)
    second = np.empty((m * (m + 1) // 2, n_experts, width))
    position = 0
    for a in range(m):
        for b in range(a + 1):
            second[position] = gradient[a] * gradient[b]
            if a < n_responses:
                second[position] -= precision[:, a, b][:, None]
            elif b < n_responses:
                i, j = pairs[a - n_responses]
                mixed = factors[:, b, j][:, None] * residual[i]
                if i == b:
                    mixed = mixed + z[j]
                second[position] += mixed * slope[a - n_responses]
            else:
                (i, j), (k, m_col) = pairs[a - n_responses], pairs[b - n_responses]
                if j == m_col:
                    second[position] -= residual[i] * residual[k] * slope[a - n_responses] * slope[b - n_responses]
                if a == b and i == j:
                    # ∂²/∂L² contributes -1/L², the chain rule L ∂/∂L
                    second[position] += -1.0 + factors[:, i, i][:, None] * raw[a - n_responses]
            position += 1
    return gradient * resp, second * resp
