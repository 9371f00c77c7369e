"""Limits of parameters beside the user's box: the variance floor, the limits of scalars and gates, and who sits on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moestat.layout import Layout

Array = NDArray[np.float64]


def with_limits(layout: Layout, bounds: Array | None, floor: Array, gate_floor: Array | None) -> Array:
    """The box `(2, P)` on the free vector, with the limits of scalars (the variance floor is one) and of the gate in it."""
    out: Array = np.tile(np.array([[-np.inf], [np.inf]]), layout.n_params) if bounds is None else bounds.copy()
    scalars = np.repeat(layout.expert.scale_limits(floor)[:, None, :], layout.n_experts, axis=1)
    gate = layout.gate.bounds(layout.n_experts, layout.q_gate)
    if layout.gate.joint and gate_floor is not None:
        gate = layout.gate.floor_bounds(layout.n_experts, gate_floor)
    for side, meet in ((0, np.maximum), (1, np.minimum)):
        packed = np.full(layout.n_params, -np.inf if side == 0 else np.inf)
        packed[layout.n_gate + layout.n_coef :] = layout.pack_scale(scalars[side])
        if gate is not None:
            packed[: layout.n_gate] = layout.pack_gate(gate[side])
        out[side] = meet(out[side], packed)
    return out


def degenerate(layout: Layout, theta: Array, floor: Array, gate_floor: Array | None) -> tuple[int, ...]:
    """Experts (from 1) whose density is about to be a spike: they sit on a bound that `variance_floor` sets."""
    params = layout.unpack(theta)
    hit = np.zeros(layout.n_experts, dtype=bool)
    if layout.expert.known_scale is None:
        hit |= layout.expert.spikes(params.scale, floor)
    if layout.gate.joint and gate_floor is not None:
        low = layout.gate.floor_bounds(layout.n_experts, gate_floor)[0]
        hit |= (params.gate <= low + 1e-6).any(axis=1)
    return tuple(int(k) + 1 for k in np.flatnonzero(hit))
