"""The shape of a model: where its parameters are in the free vector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moestat.experts.base import BaseExpert
from moestat.gates.base import Gate

Array = NDArray[np.float64]


class Parameters(NamedTuple):
    """Unpacked internal parameters: `gate (S, p)`, for a softmax one row an expert; `coef (K, d, q_e)`; `scale (K, c)`."""

    gate: Array
    coef: Array
    scale: Array


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the parameters are in the free vector: gate, expert coefficients, scalars (tied ones once, known ones never).

    The *untied* vector has a place for every coefficient and scalar, also where several are equal or known. A softmax gate
    leaves out the last expert's row, which is zero.

    Attributes
    ----------
    n_predictors : int
        Predictors d of one expert: one a response for Gaussian experts, one a class but the last for multinomial ones.
    n_responses : int
        Columns of y.
    """

    gate: Gate
    expert: BaseExpert
    n_experts: int
    n_predictors: int
    n_responses: int
    q_gate: int
    q_expert: int
    known_scale: Array  # (K, c) internal values where a scalar is known

    def with_features(self, q_gate: int, q_expert: int) -> Layout:
        """The same model on maps with other numbers of features."""
        return replace(self, q_gate=q_gate, q_expert=q_expert)

    def replace_known(self, known_scale: Array) -> Layout:
        """The same model with other known scalars."""
        return replace(self, known_scale=known_scale)

    @property
    def by_scores(self) -> bool:
        """Whether the model takes the general route, on which every gate answers by scores."""
        return bool(self.gate.general or self.expert.raw_features or self.expert.by_scores)

    @cached_property
    def gate_index(self) -> NDArray[np.int64]:
        """For each gate coefficient `(S, p)` the number of the free parameter it equals, or -1 where it is zero."""
        return self.gate.index(self.n_experts, self.q_gate)

    @cached_property
    def n_gate(self) -> int:
        """Number of free gate parameters; they come first in the free vector."""
        return int(self.gate_index.max(initial=-1)) + 1

    @cached_property
    def n_scored(self) -> int:
        """Experts whose gate is free, where every expert has a row of its own (a softmax)."""
        return int((self.gate_index >= 0).any(axis=1).sum())

    @cached_property
    def n_scale(self) -> int:
        """Scalars of one expert."""
        return self.expert.n_scale(self.n_predictors)

    @cached_property
    def sizes(self) -> tuple[int, int, int]:
        """Number of untied gate parameters, coefficients and scalars."""
        k, d = self.n_experts, self.n_predictors
        return (
            self.gate_index.size if self.by_scores else self.n_gate,
            k * d * self.q_expert,
            k * self.n_scale,
        )

    @cached_property
    def coef_design(self) -> Array | None:
        """See `BaseExpert.coef_design`."""
        return self.expert.coef_design(self.n_experts)

    @cached_property
    def coef_numbers(self) -> list[int]:
        """See `BaseExpert.coef_numbers`."""
        return self.expert.coef_numbers(self.n_experts)

    @cached_property
    def n_coef(self) -> int:
        """Number of free coefficients."""
        return len(self.coef_numbers) * self.n_predictors * self.q_expert

    @cached_property
    def scale_index(self) -> NDArray[np.int64]:
        """See `BaseExpert.scale_index`."""
        return self.expert.scale_index(self.n_experts, self.n_predictors)

    def tied_groups(self) -> list[NDArray[np.bool_]]:
        """Masks `(K, c)` of scalars that are one free parameter."""
        return [self._compact == v for v in range(self._n_free_scale)]

    @cached_property
    def n_params(self) -> int:
        """Length of the free vector."""
        return self.n_gate + self.n_coef + self._n_free_scale

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
        head = self.gate_index.ravel() if self.by_scores else np.arange(self.n_gate)
        coef = np.arange(self.sizes[1]) + self.n_gate if self.coef_design is None else np.full(self.sizes[1], -1)
        scale = np.where(self._compact >= 0, self._compact + self.n_gate + self.n_coef, -1).ravel()
        index = np.concatenate([head, coef, scale])
        if np.array_equal(index, np.arange(len(index))):
            return None
        out = np.zeros((len(index), self.n_params))
        kept = np.flatnonzero(index >= 0)
        out[kept, index[kept]] = 1.0
        if self.coef_design is not None:
            a, width = len(head), self.n_predictors * self.q_expert
            out[a : a + len(coef), self.n_gate : self.n_gate + self.n_coef] = np.kron(self.coef_design, np.eye(width))
        return out

    def unpack(self, theta: Array) -> Parameters:
        """Parameters of a free vector."""
        a, b = self.n_gate, self.n_coef
        index = self.gate_index
        gate = np.zeros(index.shape)
        gate[index >= 0] = theta[index[index >= 0]]
        coef = theta[a : a + b].reshape(-1, self.n_predictors, self.q_expert)
        if self.coef_design is not None:
            coef = np.tensordot(self.coef_design, coef, axes=1)
        scale = self.known_scale.copy()
        compact = self._compact
        scale[compact >= 0] = theta[a + b :][compact[compact >= 0]]
        return Parameters(gate, coef, scale)

    def pack(self, params: Parameters) -> Array:
        """Free vector of parameters; the gate is brought to its canonical form (a softmax: last row zero)."""
        gate = self.pack_gate(self.gate.canonical(params.gate))
        return np.concatenate([gate, self.pack_coef(params.coef), self.pack_scale(params.scale)])

    def pack_bounds(self, bounds: Parameters) -> Array:
        """Bounds of the free vector from bounds of all parameters: nothing is shifted.

        Raises
        ------
        ValueError
            If coefficients are bounded that are sums of free ones.
        """
        if self.coef_design is not None:
            if np.isfinite(bounds.coef).any():
                raise ValueError(
                    f"box: the coefficients of {self.expert!r} are sums of free ones; they have no bounds of their own."
                )
            coef = np.full(self.n_coef, bounds.coef.flat[0])
            return np.concatenate([self.pack_gate(bounds.gate), coef, self.pack_scale(bounds.scale)])
        return np.concatenate([self.pack_gate(bounds.gate), bounds.coef.ravel(), self.pack_scale(bounds.scale)])

    def pack_coef(self, coef: Array) -> Array:
        """The free ones among coefficients `(K, d, q)`; the nearest where they are no sums of free ones."""
        if self.coef_design is None:
            return coef.ravel()
        return np.asarray(np.linalg.pinv(self.coef_design) @ coef.reshape(self.n_experts, -1)).ravel()

    def pack_gate(self, gate: Array) -> Array:
        """The free ones among gate coefficients `(S, p)`."""
        return _average(gate, self.gate_index, self.n_gate)

    def sum_gate(self, gate: Array) -> Array:
        """A gradient in the free gate parameters from one in all gate coefficients `(S, p)`."""
        index = self.gate_index.ravel()
        free = index >= 0
        return np.asarray(np.bincount(index[free], gate.ravel()[free], minlength=self.n_gate), dtype=float)

    def sum_gate_pairs(self, matrix: Array) -> Array:
        """A matrix in the free gate parameters from one in all gate coefficients."""
        index = self.gate_index.ravel()
        free = np.flatnonzero(index >= 0)
        out = np.zeros((self.n_gate, self.n_gate))
        np.add.at(out, (index[free][:, None], index[free][None, :]), matrix[np.ix_(free, free)])
        return out

    def pack_scale(self, scale: Array) -> Array:
        """The free ones among scalars `(K, c)`; the mean of tied ones."""
        return _average(scale, self._compact, self._n_free_scale)


def _average(values: Array, index: NDArray[np.int64], size: int) -> Array:
    """Mean of the values that are the same free parameter."""
    flat = index.ravel()
    free = flat >= 0
    count = np.bincount(flat[free], minlength=size)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(flat[free], values.ravel()[free], minlength=size) / np.maximum(count, 1))


def workspace(layout: Layout, width: int) -> dict[str, Array]:
    """Arrays `(…, width)` that the passes over a block of rows fill: the E-step, then what derivatives need."""
    k, s, d = layout.n_experts, layout.n_scored, layout.n_predictors
    m = d + layout.n_scale
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("log_prob", "prob", "log_density", "resp", "scratch"), (k,)),
        "kept": (d, k),  # what the expert keeps of its forward pass: residuals, or predictors
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
    p, n, k = layout.n_params, layout.n_gate, layout.n_experts
    gradient, curvature = np.zeros(p), np.zeros((p, p))
    rows, q = layout.gate_index.shape
    if gate_l2 == 0.0 or n == 0 or q < 2:
        return 0.0, gradient, curvature
    slopes = np.zeros((q, q))
    slopes[1:, 1:] = np.eye(q - 1) if metric is None else metric
    pinned = bool((layout.gate_index[-1] < 0).all())  # a shift of all gates is nothing: only differences are penalised
    full = gate_l2 * np.kron(np.eye(rows) - (1.0 / k if pinned else 0.0), slopes)
    block = layout.sum_gate_pairs(np.asarray(full, dtype=float))
    gradient[:n] = block @ theta[:n]
    curvature[:n, :n] = block
    return 0.5 * float(theta[:n] @ gradient[:n]), gradient, curvature
