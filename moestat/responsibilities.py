"""Starting points from responsibilities: the M-step to its end, for any gate and any expert; split and merge of experts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.layout import Parameters
from moestat.linalg import solve_psd
from moestat.linked import objective_for
from moestat.objective import Objective
from moestat.sparse_starts import sparse_start

Array = NDArray[np.float64]

STEPS = 15  # Newton steps of an M-step that has no closed form
ENOUGH = 1e-4  # nats a row: a smaller gain of the complete-data likelihood ends them
ORIGIN_ROWS = 200_000  # rows that say where the first step starts


def from_responsibilities(objective: Objective, resp: Array) -> Array:
    """Free vector that about maximises the complete-data likelihood for responsibilities `(K, n)`.

    With closed forms it is one M-step; a gate that switches experts off is warmed up on its dense counterpart.
    """
    layout = objective.layout
    resp = np.ascontiguousarray(resp)
    gate: Any = layout.gate
    dense = gate.dense() if gate.general else None
    if dense is not None:
        warm = objective_for(objective.rows, replace(layout, gate=dense), floor=objective.floor)
        return sparse_start(objective, warm, from_responsibilities(warm, resp))
    if layout.expert.closed_form and not layout.gate.general:
        origin = objective.clip(np.zeros(objective.n_params))
        return objective.maximise(origin, objective.em_pass(origin, resp))
    return complete_data_fit(objective, origin_of(objective, resp), resp)


def origin_of(objective: Objective, resp: Array) -> Array:
    """Experts at a constant fit each, the gate where its own first step starts."""
    layout, rows = objective.layout, objective.rows
    n = min(rows.n, ORIGIN_ROWS)
    block = rows.block(0, n)
    y, weight = block.y.T[:n], rows.weight[:n] if rows.weight.size else np.ones(n)
    resp, z, phi = resp[:, :n], block.gate_features[:, :n], block.expert_features[:, :n]
    gate: Any = layout.gate
    gamma = np.zeros(layout.gate_index.shape)
    if gate.general:
        gamma = gate.start(resp * weight, z)
    coef = np.zeros((layout.n_experts, layout.n_predictors, layout.q_expert))
    scale = layout.known_scale.copy()
    expert: Any = layout.expert
    if not expert.closed_form:
        for k in range(layout.n_experts):
            own = resp[k] * weight
            own = own if own.sum() > 1e-12 * weight.sum() else weight  # an expert without rows starts from all of them
            coef[k], scale[k] = expert.first_coefficients_of(k, y, own, phi)
        if block.offset.size:
            coef[:, 0, 0] -= resp @ (block.offset[:n] * weight) / (resp @ weight)
    return objective.clip(layout.pack(Parameters(gamma, coef, scale)))


def complete_data_fit(objective: Objective, theta: Array, resp: Array) -> Array:
    """Newton steps on the complete-data likelihood; an expert's step, and the gate's, is shortened until its part rises."""
    layout = objective.layout
    k, n = layout.n_experts, layout.n_gate
    single = bool(getattr(layout.expert, "tied", False))  # one step for all of them
    at = objective.em_pass(theta, resp)
    expert_step, gate_step = np.ones(k), 1.0
    for _ in range(STEPS):
        stepped = objective.maximise(theta, at, 1.0)
        moved, base = layout.unpack(stepped), layout.unpack(theta)
        coef = base.coef + expert_step[:, None, None] * (moved.coef - base.coef)
        scale = base.scale + expert_step[:, None] * (moved.scale - base.scale)
        candidate = objective.clip(layout.pack(Parameters(base.gate, coef, scale)))
        candidate[:n] = theta[:n] + gate_step * (stepped[:n] - theta[:n])
        new = objective.em_pass(objective.clip(candidate), resp)
        gained = _parts(new.statistics, k) - _parts(at.statistics, k)
        risen = gained >= -1e-10 * (np.abs(_parts(at.statistics, k)) + 1.0)
        if single:
            risen[:k] = gained[:k].sum() >= 0.0
        if risen.all():
            theta, at = objective.clip(candidate), new
            expert_step, gate_step = np.minimum(2.0 * expert_step, 1.0), min(2.0 * gate_step, 1.0)
            if gained.sum() < ENOUGH * objective.total_weight:
                break
            continue
        kept = np.where(risen[:k, None, None], coef, base.coef), np.where(risen[:k, None], scale, base.scale)
        back = layout.pack(Parameters(base.gate, *kept))
        back[:n] = candidate[:n] if risen[k] else theta[:n]
        expert_step = np.where(risen[:k], expert_step, 0.25 * expert_step)
        gate_step = gate_step if risen[k] else 0.25 * gate_step
        theta = objective.clip(back)
        at = objective.em_pass(theta, resp)
    return theta


def _parts(statistics: dict[str, Array], n_experts: int) -> Array:
    """Complete-data log-likelihood of each expert, then of the gate, as far as the passes report them."""
    experts = statistics.get("expert_value", np.zeros(n_experts))
    return np.append(experts, float(statistics.get("gate_value", np.zeros(()))))


def split_merge_starts(objective: Objective, theta: Array, target: Array) -> list[Array]:
    """Free vectors around a solution by moving responsibilities; `target (n, D)` are responses as real numbers."""
    rows = objective.rows
    weight = rows.weight if rows.weight.size else np.ones(rows.n)
    resp = objective.responsibilities(theta)
    phi = rows.block(0, rows.n).expert_features
    signal = np.empty_like(resp)
    for k, r in enumerate(resp * weight):
        gram, moment = (phi * r) @ phi.T, (phi * r) @ target[:, :1]
        signal[k] = target[:, 0] - (solve_psd(gram, moment)[:, 0] @ phi)
    return [from_responsibilities(objective, moved) for moved in split_merge_responsibilities(resp, weight, signal)]


def split_merge_responsibilities(resp: Array, weight: Array, signal: Array, n_candidates: int = 4) -> list[Array]:
    """Responsibilities `(K, n)` in which two experts are merged and a third one is split.

    Pairs in decreasing order of overlap; the expert with the largest share is split at the median of `signal (K, n)`, its
    standardised residuals (Ueda, Nakano, Ghahramani & Hinton 2000).
    """
    k = len(resp)
    if k < 3:
        return []
    overlap = (resp * weight) @ resp.T
    mass = np.maximum(overlap.sum(axis=1), np.finfo(float).tiny)
    own = np.sqrt(np.maximum(np.diag(overlap), np.finfo(float).tiny))
    first, second = np.triu_indices(k, 1)
    affinity = (overlap / own / own[:, None])[first, second]
    splits = np.argsort(-mass, kind="stable")
    ranked = sorted(
        (i + j, i, int(first[pair]), int(second[pair]), int(e))
        for i, pair in enumerate(np.argsort(-affinity, kind="stable"))
        for j, e in enumerate(e for e in splits if e not in (first[pair], second[pair]))
    )
    out = []
    for _, _, a, b, e in ranked[:n_candidates]:
        moved = resp.copy()
        moved[a] = resp[a] + resp[b]
        upper = 0.05 + 0.9 * (signal[e] > _weighted_median(signal[e], resp[e] * weight))
        moved[b] = resp[e] * upper
        moved[e] = resp[e] * (1.0 - upper)
        out.append(moved)
    return out


def _weighted_median(values: Array, weight: Array) -> float:
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(cumulated, 0.5 * cumulated[-1])])
