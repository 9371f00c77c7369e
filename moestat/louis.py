"""Gradient and Hessian sums in predictor space (Louis' identity), and their assembly into parameter space."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moestat.blocks import Block
from moestat.linalg import mirror

if TYPE_CHECKING:
    from moestat.layout import Layout, Parameters

Array = NDArray[np.float64]
Statistics = dict[str, Array]


def accumulators(layout: Layout) -> Statistics:
    """Zero sums; `m` predictors an expert: d with features, then the scalars."""
    k, s, q, p = layout.n_experts, layout.n_scored, layout.q_gate, layout.q_expert
    d = layout.n_predictors
    m = d + layout.n_scale
    c = m - d
    total = sum(layout.sizes)
    return {
        "value": np.zeros(()),
        "score": np.zeros(total),
        "outer": np.zeros((total, total)),  # Σ w s sᵀ of the per-row scores
        "gate_score": np.zeros((s, q)),  # Σ w (r - π) z
        "gate_pairs": np.zeros((s * (s + 1) // 2, q, q)),  # Σ w (δ_ab (r_a - π_a) + π_a π_b) zzᵀ
        "gate_mean": np.zeros((d, s, q, p)),  # Σ w r g z φᵀ
        "gate_scale": np.zeros((c, s, q)),  # Σ w r g z
        "mean_mean": np.zeros((d * (d + 1) // 2, k, p, p)),
        "scale_mean": np.zeros((c, d, k, p)),
        "scale_scale": np.zeros((c * (c + 1) // 2, k)),
    }


def score_rows(
    layout: Layout, block: Block, gate_weight: Array, first: Array, scores: Array, kernels: ModuleType
) -> Array:
    """Fill the per-row scores `(P, B)` in the untied vector: gate part `gate_weight_k z`, then the experts' `first`."""
    k, s, q = layout.n_experts, layout.n_scored, layout.q_gate
    d, p = layout.n_predictors, layout.q_expert
    a, b = block.start, block.stop
    if s:
        kernels.scaled_features(block.gate_features, gate_weight, a, b, scores[: s * q])
    means = first[0] if d == 1 else np.ascontiguousarray(first[:d].swapaxes(0, 1)).reshape(k * d, b - a)
    kernels.scaled_features(block.expert_features, means, a, b, scores[s * q : s * q + k * d * p])
    scores[s * q + k * d * p :] = first[d:].swapaxes(0, 1).reshape(-1, b - a)
    return scores


def row_scores(layout: Layout, params: Parameters, block: Block, ws: dict[str, Array], kernels: ModuleType) -> Array:
    """Scores `(P, B)` of the block's rows in the untied vector."""
    first = layout.expert.weighted_slopes(params.scale, block, ws, kernels)
    s = layout.n_scored
    return score_rows(layout, block, linked(ws, ws["resp"][:s] - ws["prob"][:s]), first, ws["scores"], kernels)


def linked(ws: dict[str, Array], by_log_weight: Array) -> Array:
    """Slopes `(S, B)` in the gate's scores from those in the logarithms of which the gate is the softmax; see `LinkedObjective`."""
    return by_log_weight * ws["link_slope"] if "link_slope" in ws else by_log_weight


def add(
    layout: Layout,
    params: Parameters,
    block: Block,
    ws: dict[str, Array],
    acc: Statistics,
    kernels: ModuleType,
    outer: Callable[[Array, Array], None],
) -> None:
    """Add one block; `ws` holds its E-step, and room for what is computed here."""
    s, d = layout.n_scored, layout.n_predictors
    a, b = block.start, block.stop
    resp, prob = ws["resp"], ws["prob"][:s]
    first, second = layout.expert.weighted_derivatives(params.scale, block, ws, kernels)
    m = len(first)
    c = m - d

    # gate part r_a z: the shift by π drops out of the covariance and is put back into the gradient
    scores = score_rows(layout, block, linked(ws, resp[:s]), first, ws["scores"], kernels)
    if block.weight.size:
        weight = block.weight[a:b]
        acc["score"] += scores @ weight
        scores *= np.sqrt(weight)
        first, second = first * weight, second * weight
    else:
        acc["score"] += scores.sum(axis=1)
    outer(scores, acc["outer"])

    if s:
        pairs, difference = ws["pairs"], ws["scratch"][:s]
        kernels.softmax_pairs(prob, pairs)
        np.negative(pairs, out=pairs)
        for e in range(s):
            pairs[e * (e + 3) // 2] += resp[e]
        np.subtract(resp[:s], prob, out=difference)
        if "link_slope" in ws:
            kernels.scale_pairs(ws["link_slope"], pairs)
            for e in range(s):
                pairs[e * (e + 3) // 2] += difference[e] * ws["link_bend"][e]
            difference *= ws["link_slope"]
        kernels.scale_rows(block.weight, a, b, pairs)
        kernels.scale_rows(block.weight, a, b, difference)
        kernels.weighted_grams(block.gate_features, pairs, a, b, acc["gate_pairs"])
        kernels.weighted_moments(block.gate_features, difference, a, b, acc["gate_score"])
        for i in range(d):
            mixed = linked(ws, first[i, :s])
            kernels.cross_grams(block.gate_features, block.expert_features, mixed, a, b, acc["gate_mean"][i])
        for i in range(c):
            kernels.weighted_moments(block.gate_features, linked(ws, first[d + i, :s]), a, b, acc["gate_scale"][i])
    position = 0
    for i in range(m):
        for j in range(i + 1):
            if i < d:
                kernels.weighted_grams(block.expert_features, second[position], a, b, acc["mean_mean"][position])
            elif j < d:
                kernels.weighted_moments(block.expert_features, second[position], a, b, acc["scale_mean"][i - d, j])
            else:
                acc["scale_scale"][(i - d) * (i - d + 1) // 2 + j - d] += second[position].sum(axis=1)
            position += 1


@cache
def lower_pairs(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs `(i, j)` with `j <= i < size`, row by row."""
    return np.tril_indices(size)


def add_pairs(matrix: Array, pairs: Array, s: int, q: int) -> None:
    """Add the symmetric blocks of the gate pairs `j <= i` (lower triangles) to the lower blocks of the gate's corner."""
    corner = matrix[: s * q, : s * q].reshape(s, q, s, q)
    i, j = lower_pairs(s)
    corner[i, :, j] += mirror(pairs)


def assemble(layout: Layout, acc: Statistics) -> tuple[Array, Array]:
    """Gradient and Hessian in the untied vector (gate, coefficients, scale parameters).

    Views with one axis for the expert and one for its parameters take all experts at once: at fifty experts a loop
    over their blocks costs more than the sums over rows.
    """
    k, s, q = layout.n_experts, layout.n_scored, layout.q_gate
    d, p, c = layout.n_predictors, layout.q_expert, layout.n_scale
    n_gate, n_coef, _ = layout.sizes
    gates, coefs, scales = slice(n_gate), slice(n_gate, n_gate + n_coef), slice(n_gate + n_coef, None)
    gradient = acc["score"].copy()
    gradient[:n_gate] = acc["gate_score"].ravel()
    hessian = -acc["outer"]  # the lower triangle is filled
    add_pairs(hessian, acc["gate_pairs"], s, q)
    e, scored = np.arange(k), np.arange(s)
    hessian[coefs, gates].reshape(k, d, p, s, q)[scored, :, :, scored] += acc["gate_mean"].transpose(1, 0, 3, 2)
    hessian[scales, gates].reshape(k, c, s, q)[scored, :, scored] += acc["gate_scale"].transpose(1, 0, 2)
    hessian[scales, coefs].reshape(k, c, k, d, p)[e, :, e] += acc["scale_mean"].transpose(2, 0, 1, 3)
    mean_mean = hessian[coefs, coefs].reshape(k, d, p, k, d, p)
    for i, j, block in zip(*lower_pairs(d), mirror(acc["mean_mean"]), strict=True):
        mean_mean[e, i, :, e, j] += block
    scale_scale = hessian[scales, scales].reshape(k, c, k, c)
    for i, j, value in zip(*lower_pairs(c), acc["scale_scale"], strict=True):
        scale_scale[e, i, e, j] += value
    return gradient, mirror(hessian)
