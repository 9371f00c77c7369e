"""The shape of a model: where its parameters are in the free vector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moestat.experts.gaussian import GaussianExpert
from moestat.gates.base import Gate

Array = NDArray[np.float64]


class Parameters(NamedTuple):
    """Unpacked internal parameters: `gate (K, q_g)`, `coef (K, D, q_e)`, `scale (K, m)`."""

    gate: Array
    coef: Array
    scale: Array


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the parameters are in the free vector: gate, expert coefficients, scale parameters (tied or known ones once or never)."""

    gate: Gate
    expert: GaussianExpert
    n_experts: int
    n_responses: int
    q_gate: int
    q_expert: int
    known_scale: Array  # (K, m) internal values where the scale is known

    def with_features(self, q_gate: int, q_expert: int) -> Layout:
        """The same model on maps with other numbers of features."""
        return replace(self, q_gate=q_gate, q_expert=q_expert)

    def replace_known(self, known_scale: Array) -> Layout:
        """The same model with other known scale parameters."""
        return replace(self, known_scale=known_scale)

    @cached_property
    def n_scored(self) -> int:
        """Experts whose gate is free."""
        return self.gate.n_free(self.n_experts)

    @cached_property
    def sizes(self) -> tuple[int, int, int]:
        """Number of gate, coefficient and untied scale parameters."""
        k, d = self.n_experts, self.n_responses
        return self.n_scored * self.q_gate, k * d * self.q_expert, k * self.expert.n_scale(d)

    @cached_property
    def scale_index(self) -> NDArray[np.int64]:
        """See `GaussianExpert.scale_index`."""
        return self.expert.scale_index(self.n_experts, self.n_responses)

    def tied_groups(self) -> list[NDArray[np.bool_]]:
        """Masks `(K, m)` of scale parameters that are one free parameter."""
        return [self._compact == v for v in range(self._n_free_scale)]

    @cached_property
    def n_params(self) -> int:
        """Length of the free vector."""
        return self.sizes[0] + self.sizes[1] + self._n_free_scale

    @cached_property
    def _compact(self) -> NDArray[np.int64]:
        """`scale_index` renumbered 0, 1, … without gaps; -1 where known."""
        index = self.scale_index
        return np.where(index >= 0, np.searchsorted(np.unique(index[index >= 0]), index), -1)

    @cached_property
    def _n_free_scale(self) -> int:
        return int(self._compact.max(initial=-1)) + 1

    def tie(self) -> Array | None:
        """Matrix from the free vector to the untied one, or None when they are equal."""
        index = self._compact.ravel()
        if np.array_equal(index, np.arange(len(index))):
            return None
        linear = self.sizes[0] + self.sizes[1]
        out = np.zeros((linear + len(index), self.n_params))
        out[:linear, :linear] = np.eye(linear)
        for row in np.flatnonzero(index >= 0):
            out[linear + row, linear + index[row]] = 1.0
        return out

    def unpack(self, theta: Array) -> Parameters:
        """Parameters of a free vector."""
        a, b, _ = self.sizes
        gate = np.zeros((self.n_experts, self.q_gate))
        gate[: self.n_scored] = theta[:a].reshape(self.n_scored, self.q_gate)
        coef = theta[a : a + b].reshape(self.n_experts, self.n_responses, self.q_expert)
        index = self._compact
        scale = self.known_scale if self._n_free_scale == 0 else theta[a + b :][index]
        return Parameters(gate, coef, scale)

    def pack(self, params: Parameters) -> Array:
        """Free vector of parameters; the gate is shifted so that the last expert's scores are zero."""
        gate = (params.gate - params.gate[-1])[: self.n_scored]
        index = self._compact.ravel()
        free = index >= 0
        count = np.bincount(index[free], minlength=self._n_free_scale)
        scale = np.bincount(index[free], params.scale.ravel()[free], minlength=self._n_free_scale) / np.maximum(
            count, 1
        )
        return np.concatenate([gate.ravel(), params.coef.ravel(), scale])


def workspace(layout: Layout, width: int) -> dict[str, Array]:
    """Arrays `(…, width)` that the passes over a block of rows fill: the E-step, then what derivatives need."""
    k, s, d = layout.n_experts, layout.n_scored, layout.n_responses
    m = d + layout.expert.n_scale(d)
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("log_prob", "prob", "log_density", "resp", "scratch"), (k,)),
        "residual": (d, k),
        "loglik": (),
        "pairs": (s * (s + 1) // 2,),
        "first": (m, k),
        "second": (m * (m + 1) // 2, k),
        "scores": (sum(layout.sizes),),
    }
    return {name: np.empty((*shape, width)) for name, shape in shapes.items()}


def gate_penalty(
    layout: Layout, theta: Array, gate_l2: float, metric: Array | None = None
) -> tuple[float, Array, Array]:
    """Value, gradient and curvature of `gate_l2/2 Σ_k |γ_k - γ̄|²`, a sum over all K gates, the pinned one included.

    `metric (q-1, q-1)` is the square form of the slopes, by default the sum of squares.
    """
    p, s, q, k = layout.n_params, layout.n_scored, layout.q_gate, layout.n_experts
    gradient, curvature = np.zeros(p), np.zeros((p, p))
    if gate_l2 == 0.0 or s == 0 or q < 2:
        return 0.0, gradient, curvature
    slopes = np.zeros((q, q))
    slopes[1:, 1:] = np.eye(q - 1) if metric is None else metric
    block = gate_l2 * np.kron(np.eye(s) - 1.0 / k, slopes)
    gradient[: s * q] = block @ theta[: s * q]
    curvature[: s * q, : s * q] = block
    return 0.5 * float(theta[: s * q] @ gradient[: s * q]), gradient, curvature
