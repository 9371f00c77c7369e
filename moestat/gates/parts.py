"""The gate's side of a mixing measure: weights, blocks of the atoms, and which translations the weights do not see."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Parts(NamedTuple):
    """What a gate adds to the atoms of K experts; gauge and blocks are those of `moestat.MixingMeasure`.

    Attributes
    ----------
    log_weights : (K,)
    blocks : dict of name to (K, …)
    gauge : {"softmax", "weights", "none"}
    """

    log_weights: Array
    blocks: dict[str, Array]
    gauge: str


class NestedParts(NamedTuple):
    """Of a gate of two levels: those of its branches, and for each branch its experts and their parts."""

    branches: Parts
    children: tuple[tuple[list[int], Parts], ...]


class SharedParts(NamedTuple):
    """Of a gate with shared experts, which come first: the weight of their block, their parts, and those of the others."""

    weight: float
    shared: Parts
    routed: Parts


def with_shared(
    weight: float | None, log_omega: Array, routed: Parts | NestedParts | SharedParts | None
) -> Parts | SharedParts:
    """Shared experts of log-weights `log ω` in a block of that weight (None: it depends on x), beside routed ones if there are any.

    Raises
    ------
    ValueError
        If the weight depends on x, or the routed gate has several levels.
    """
    shared = Parts(log_omega, {}, "none")
    if routed is None:
        return shared
    if weight is None:
        raise ValueError(
            "there is no mixing measure: the weight of the block of shared experts depends on x (weight='gated')."
        )
    if not isinstance(routed, Parts):
        raise ValueError("there is no mixing measure: the routed gate of the shared experts has several levels.")
    return SharedParts(weight, shared, routed)
