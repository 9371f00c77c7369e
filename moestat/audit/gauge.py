"""Continuous invariances of a gate's parametrisation: how many there are, how many are pinned, and which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.audit.rank import column_rank
from moestat.gates.activation import ActivationGate
from moestat.gates.base import Gate
from moestat.gates.constant import ConstantGate
from moestat.gates.scores import ScoreGate
from moestat.gates.shared import SharedExperts
from moestat.gates.sigmoid import SigmoidScores
from moestat.layout import Layout
from moestat.mixture import ConditionalMixture

Array = NDArray[np.float64]

_SHIFT = "(β0, β1) → (β0 + t1, β1 + t2) for all experts"
TEXTS = {
    "constant": "β0 → β0 + t for all experts",
    "quadratic": "(c, b, A) → (c + t1, b + t2, A + T) for all experts",
    "quadratic_monomial": "(c, A) → (c + t1, A + T) for all experts",
    "laplace": "β0 → β0 + t for all experts; the places are identified",
    "cosine": "β0 → β0 + t for all experts, and |β1_k| → c_k |β1_k| for each",
    "perturbed_cosine": "β0 → β0 + t for all experts, and a common shift of β1/(|β1| + t1)",
    "activation": "β0 → β0 + t for all experts; a curved function fixes slopes and temperature",
    "normalized_sigmoid": "none",
    "sigmoid": "none",
    "hierarchical": "a shift inside every node",
    "prototype": "a shift inside every group",
    "factorial": "a shift inside every group",
}


@dataclass(frozen=True)
class Gauge:
    """Exact continuous invariances of a gate.

    Attributes
    ----------
    pinned : int
        Dimensions that the parametrisation pins.
    left : int
        Dimensions that it leaves to the free parameters, at generic values of them.
    text : str
        What they are.
    """

    pinned: int
    left: int
    text: str

    @property
    def dimension(self) -> int:
        """All of them."""
        return self.pinned + self.left


def gauge_of(model: ConditionalMixture, X: Array, rng: np.random.Generator) -> Gauge:
    """Count the invariances of the gate: its pinned coefficients, and the null space of the weights' derivatives at random ones."""
    gate, q = model.gate, model.gate_map.n_raw
    return Gauge(_pinned(gate, model.n_experts, q), _left(model, X, rng), _text(gate))


def _pinned(gate: Any, n_experts: int, q: int) -> int:
    if isinstance(gate, SharedExperts):
        routed = n_experts - gate.n_shared
        return int(gate.n_shared > 0) + (_pinned(gate.inner, routed, q) if routed else 0)
    if isinstance(gate, ActivationGate):
        return 1  # a reference expert is part of the model
    if isinstance(gate, SigmoidScores) or (isinstance(gate, ConstantGate) and gate.equal):
        return 0
    return int((gate.index(n_experts, q) < 0).sum())


def _left(model: ConditionalMixture, X: Array, rng: np.random.Generator) -> int:
    layout, gate = model._raw_layout, _scored(model.gate)
    if gate is None or not layout.n_gate:
        return 0
    z = model.gate_map.raw_map().features(X)
    own = model.gate_map.to_raw(model.internal.gate)
    free = layout.gate_index >= 0
    tried = [own, *(own + np.where(free, 0.5 * rng.standard_normal(own.shape), 0.0) for _ in range(2))]
    return min(_unseen(gate, layout, gamma, z) for gamma in tried)


def _unseen(gate: Any, layout: Layout, gamma: Array, z: Array) -> int:
    """Directions of the free gate parameters that leave the log-weights alone to first order, near some coefficients."""
    index = layout.gate_index
    free = np.concatenate([layout.pack_gate(gamma), np.zeros(layout.n_params - layout.n_gate)])
    gamma = layout.unpack(free).gate
    scores, log_prob = gate.forward(gamma, z)
    slopes = gate.jacobian(scores, log_prob)
    if gate.joint:  # the log-weights are the scores, but for a common normaliser
        slopes = np.broadcast_to(np.eye(len(scores))[:, :, None], slopes.shape)
    jac = np.broadcast_to(gate.score_jacobian(gamma, z), (*index.shape, z.shape[1]))
    rows = np.einsum("ksb,spb->kbsp", slopes, jac) - (gate.log_mass(gamma)[1] if gate.joint else 0.0)
    rows = np.where(np.isneginf(log_prob)[:, :, None, None], 0.0, rows)
    columns = np.zeros((rows.shape[0] * rows.shape[1], layout.n_gate))
    flat = rows.reshape(len(columns), -1)
    for j, value in enumerate(index.ravel()):
        if value >= 0:
            columns[:, value] += flat[:, j]
    largest = float(np.linalg.norm(columns, axis=0).max(initial=0.0))
    rank = column_rank(columns, np.full(layout.n_gate, max(largest, 1e-300)))
    return rank.n_functions - rank.rank


def _scored(gate: Gate) -> Any:
    """The gate, if it answers by scores."""
    return gate if isinstance(gate, ScoreGate) else None


def _text(gate: Gate) -> str:
    if isinstance(gate, SharedExperts):
        return f"a common factor of the shared weights; routed: {_text(gate.inner)}"
    if gate.name == "gaussian":
        if gate.joint:
            return "a common factor of the weights"
        return "a quadratic function of x added to all log weights"
    return TEXTS.get(gate.name, _SHIFT)
