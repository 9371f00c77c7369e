"""Directions in which a gate leaves every weight alone: known to be flat, whatever a Hessian in rounding says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.objective import Objective

Array = NDArray[np.float64]

ROWS = 4096  # at a time
TOLERANCE = 1e-10  # on the eigenvalues of the gate's own information, scaled to a unit diagonal


def flat_directions(objective: Objective, theta: Array) -> Array:
    """Directions `(P, r)` of the free vector along which no weight changes to first order, as many as the gate knows of.

    A gate that says it has `null_directions` is flat along curves: lengths of slopes, turns, shifts of a curved parametrisation. Off the
    exact maximum the Hessian along a curve's tangent is the gradient times its bend, which is small but no rounding. The
    information of the gate's own law, a sum of squares of first derivatives, is zero there at every point, and its null space is taken.

    Parameters
    ----------
    objective : Objective
    theta : array (P,)

    Returns
    -------
    array (P, r)
        Columns of no particular length.
    """
    layout = getattr(objective, "layout", None)
    if layout is None:  # an objective without a gate
        return np.zeros((len(theta), 0))
    count = layout.gate.null_directions(layout.n_experts, layout.q_gate)
    information = _gate_information(objective, theta) if count else np.zeros((0, 0))
    if not count or not np.isfinite(information).all():
        return np.zeros((layout.n_params, 0))
    diagonal = np.diag(information)
    scale = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(information / scale / scale[:, None])
    known = np.flatnonzero(values[:count] <= TOLERANCE * max(float(values[-1]), 0.0) + 1e-300)
    out = np.zeros((layout.n_params, known.size))
    out[: layout.n_gate] = vectors[:, known] / scale[:, None]
    return out


def _gate_information(objective: Objective, theta: Array) -> Array:
    """`Σ_b w Σ_k π_k ∂log π_k ∂log π_kᵀ` in the free gate parameters, of any objective."""
    layout, data = objective.layout, objective.rows
    gate: Any = layout.gate
    gamma, size = layout.unpack(theta).gate, layout.gate_index.size
    total = np.zeros((size, size))
    for start in range(0, data.n, ROWS):
        block = data.block(start, min(start + ROWS, data.n))
        z = block.gate_features[:, block.start : block.stop]
        scores, log_prob = gate.forward(gamma, z)
        weight = np.exp(log_prob) * (block.weight[block.start : block.stop] if block.weight.size else 1.0)
        slopes = gate.jacobian(scores, log_prob)[:, :, None] * gate.score_jacobian(gamma, z)  # (K, S, p, B)
        rows = (slopes * np.sqrt(weight)[:, None, None]).transpose(1, 2, 0, 3).reshape(size, -1)
        total += rows @ rows.T
    return layout.sum_gate_pairs(total)
