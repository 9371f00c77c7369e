"""The mixing measure of a model: the weights and blocks of its gate, the blocks of its experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from moestat.experts.base import BaseExpert
from moestat.gates.base import Gate
from moestat.gates.parts import NestedParts, Parts, SharedParts
from moestat.losses.blocks import Array, Blocks
from moestat.losses.measures import HierarchicalMeasure, Measure, SharedMeasure
from moestat.mixing_measure import MixingMeasure

# exp overflows beyond 709; larger log-weights are brought below by a translation, which no loss sees.
_LARGEST_LOG_WEIGHT = 700.0


class Model(Protocol):
    """What is asked of a mixture."""

    @property
    def gate(self) -> Gate:
        """Its gate."""

    @property
    def expert(self) -> BaseExpert:
        """Its experts."""

    @property
    def n_experts(self) -> int:
        """Their number."""

    @property
    def params(self) -> dict[str, Array]:
        """The public parameters."""


def measure_of(model: Model) -> Measure:
    """The mixing measure of a mixture, with the blocks and the gauge of its gate.

    Weights, gauge and blocks ``gate…`` and ``temperature`` are what `Gate.measure_parts` says; the other blocks are the entries
    ``expert_…`` of the parameters, without that prefix. Symmetries of an expert (signs and scales of a ridge function) are resolved by
    the canonical form of its
    own. Shared experts give a `SharedMeasure`, two levels a `HierarchicalMeasure`.

    Raises
    ------
    ValueError
        If the experts are not exchangeable (of different families, or sums of shared ones), or the gate has no mixing measure.
    """
    if not model.expert.exchangeable:
        raise ValueError(
            f"there is no mixing measure of expert={model.expert!r}: its experts are of different families, or depend on each other, so that "
            "their parameters cannot be compared. Use divergences, or losses.expert_function_loss."
        )
    parts = model.gate.measure_parts(model.params, model.n_experts)
    experts = {key.removeprefix("expert_"): value for key, value in _expert_params(model).items()}
    if isinstance(parts, SharedParts):
        m = len(parts.shared.log_weights)
        whole = range(model.n_experts)
        return SharedMeasure(
            _measure(parts.shared, experts, whole[:m]), _measure(parts.routed, experts, whole[m:]), parts.weight
        )
    if isinstance(parts, NestedParts):
        top = parts.branches
        children = tuple(_measure(part, experts, rows) for rows, part in parts.children)
        return HierarchicalMeasure(_weights(top.log_weights), top.blocks["gate"], children, top.gauge)
    return _measure(parts, experts, range(model.n_experts))


def _expert_params(model: Model) -> dict[str, Array]:
    """The experts' entries of the parameters, in the canonical form of experts that have symmetries."""
    params = {key: value for key, value in model.params.items() if key.startswith("expert_")}
    canonical = getattr(model.expert, "canonical", None)
    if canonical is None:
        return params
    read = model.expert.read(params, 1 + params["expert_coef"].shape[-1])
    coef, scale = canonical(read.coef, read.scale)
    return model.expert.write(coef, scale, params["expert_intercept"].ndim == 1)


def _measure(parts: Parts, experts: Blocks, rows: Sequence[int]) -> MixingMeasure:
    blocks = parts.blocks | {name: block[list(rows)] for name, block in experts.items()}
    kept = {name: block for name, block in blocks.items() if block.size}
    return MixingMeasure(_weights(parts.log_weights), kept, parts.gauge)


def _weights(log_weights: Array) -> Array:
    return np.exp(log_weights - max(0.0, float(log_weights.max()) - _LARGEST_LOG_WEIGHT))
