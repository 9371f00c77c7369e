"""Between the public parameter dictionary (raw coordinates) and internal parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moestat.entries import read_array
from moestat.experts.base import BaseExpert
from moestat.gates.base import Gate
from moestat.layout import Layout, Parameters
from moestat.maps import FeatureMap

Array = NDArray[np.float64]


def from_dict(
    params: Mapping[str, Any], gate: Gate, expert: BaseExpert, gate_map: FeatureMap, expert_map: FeatureMap
) -> tuple[Layout, Parameters]:
    """Layout and internal parameters of a public dictionary.

    Raises
    ------
    ValueError
        If a key is missing or unknown, or a shape or value is wrong.
    """
    known = {*gate.keys, *expert.keys}
    unknown = sorted(set(params) - known)
    if unknown:
        raise ValueError(f"params has unknown keys {unknown}; the keys are {sorted(known)}.")
    read = expert.read(params, expert_map.n_raw)
    k, d = read.coef.shape[:2]
    layout = Layout(gate, expert, k, d, read.n_responses, gate_map.n_features, expert_map.n_features, read.scale)
    raw_gate = gate.from_params(params, k, gate_map.n_raw)
    return layout, Parameters(gate_map.from_raw(gate.canonical(raw_gate)), expert_map.from_raw(read.coef), read.scale)


def check_consistent(layout: Layout, params: Parameters, given: Mapping[str, Any]) -> None:
    """A ValueError where parameters contradict what gate and expert fix: no slopes, tied, known, spherical or diagonal
    scales, equal weights. `given` is the public dictionary.

    Raises
    ------
    ValueError
        With the name of what is contradicted.
    """
    for name, component in (("gate_coef", layout.gate), ("expert_coef", layout.expert)):
        if component.degree == 0 and name in given and read_array(given, name).any():
            raise ValueError(f"params[{name!r}] contradicts {component!r}, which does not depend on x; leave it out.")
    free = layout.unpack(layout.pack(params))
    layout.expert.check_consistent(free.scale, params.scale, given)
    if not np.allclose(free.gate, layout.gate.canonical(params.gate), rtol=1e-8, atol=1e-10):
        raise ValueError(
            f"params['gate_intercept'] contradicts {layout.gate!r}, whose weights are equal; leave it out."
            if layout.n_gate == 0
            else f"the gate's entries of params contradict {layout.gate!r}, which fixes some of them or makes them equal."
        )


def to_dict(
    layout: Layout, params: Parameters, gate_map: FeatureMap, expert_map: FeatureMap, vector_y: bool
) -> dict[str, Array]:
    """The public dictionary of internal parameters; `vector_y`: a single response without its own axis."""
    gate = layout.gate.to_params(layout.gate.canonical(gate_map.to_raw(params.gate)), layout.n_experts)
    return gate | layout.expert.write(expert_map.to_raw(params.coef), params.scale, vector_y)


def rescale_response(layout: Layout, params: Parameters, center: Array, scale: Array) -> Parameters:
    """Parameters for `center + scale * y` from those for `y`; both `(D,)`."""
    coef, scalars = layout.expert.rescale(params.coef, params.scale, center, scale)
    return Parameters(params.gate, coef, scalars)
