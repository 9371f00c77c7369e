"""Sums over rows for the gate's M-step: slope, information of its own law, and the exact second derivative of its part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moestat.layout import Layout, Parameters
from moestat.objective import Statistics

if TYPE_CHECKING:
    from moestat.blocks import Block
    from moestat.general import GeneralObjective

Array = NDArray[np.float64]


def gate_accumulators(layout: Layout) -> Statistics:
    """Zero sums; nothing for a gate without free parameters. `gate_bend` only where it is not the information (`Gate.scoring`)."""
    gate: Any = layout.gate
    s, p = layout.gate_index.shape
    if gate.joint:
        return {"gate_value": np.zeros(()), "gate_joint": np.zeros((s, layout.q_gate, layout.q_gate))}
    if not layout.n_gate:
        return {}
    square = ("gate_information",) if gate.scoring or not gate.normalised else ("gate_information", "gate_bend")
    return {
        "gate_moments": np.zeros((s, p)),
        "gate_value": np.zeros(()),
        **{name: np.zeros((s, p, s, p)) for name in square},
    }


def add_gate(
    objective: GeneralObjective, params: Parameters, block: Block, ws: dict[str, Array], acc: Statistics, weight: Array
) -> None:
    """Add a block, whose E-step is in the workspace with weighted responsibilities."""
    if "gate_value" not in acc:
        return
    gate: Any = objective.layout.gate
    s = len(objective.layout.gate_index)
    weighted = ws["resp"]
    acc["gate_value"] += (weighted * np.where(weighted > 0.0, ws["log_prob"], 0.0)).sum()
    if gate.joint:
        acc["gate_joint"] += gate.moments(params.gate, block.gate_features[:, block.start : block.stop], weighted)
        return
    jac = objective._gate_jacobian(ws)
    score_jac = objective._jacobians(params, block)[0]
    law, pull = ws["prob"] * weight, weighted
    if not gate.normalised:  # of weights that do not sum to one, Σ r log w - w
        pull = weighted - law
        acc["gate_value"] -= law.sum()
    slope = np.einsum("kb,ksb->sb", pull, jac)
    acc["gate_moments"] += np.einsum("sb,spb->sp", slope, np.broadcast_to(score_jac, (s, *score_jac.shape[1:])))
    pairs = np.einsum("ksb,ktb->stb", jac * law[:, None, :], jac)
    acc["gate_information"] += objective._gate_grams(score_jac, pairs).swapaxes(1, 2)
    if "gate_bend" in acc:
        bent = gate.curvature(ws["gate_scores"], ws["log_gate"], weighted)
        acc["gate_bend"] -= objective._gate_grams(score_jac, bent).swapaxes(1, 2)
        curved = objective._score_curvature(params, block, slope)
        if curved is not None:
            j = np.arange(s)
            acc["gate_bend"][j, :, j] -= curved


def gate_step_sums(layout: Layout, acc: Statistics, slope: Array, curvature: Array) -> Array | None:
    """The sums in the free parameters, less a penalty's slope and with its curvature, in place; the information is returned."""
    if "gate_moments" not in acc:
        return None
    n = layout.n_gate
    acc["gate_slope"] = layout.sum_gate(acc.pop("gate_moments")) - slope[:n]
    for name in {"gate_information", "gate_bend"} & set(acc):
        size = layout.gate_index.size
        acc[name] = layout.sum_gate_pairs(acc[name].reshape(size, size)) + curvature[:n, :n]
    return acc.pop("gate_information")
