"""Fitted state as plain data and back (for `save` and `load`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from moestat.layout import Layout, Parameters
from moestat.maps import FeatureMap, InputMap, PolynomialMap
from moestat.mixture import ConditionalMixture
from moestat.registry import EXPERTS, GATES
from moestat.regression_function import RegressionFunction
from moestat.solvers.base import FitResult, Status
from moestat.solvers.certificate import Certificate


def mixture_state(mixture: ConditionalMixture) -> dict[str, Any]:
    """Plain data of a mixture, internal coordinates included."""
    shared = mixture.gate_map is mixture.expert_map
    return {
        "gate": mixture.gate,
        "expert": mixture.expert,
        "gate_map": mixture.gate_map.to_state(),
        "expert_map": None if shared else mixture.expert_map.to_state(),
        "n_experts": mixture.n_experts,
        "n_predictors": mixture.layout.n_predictors,
        "n_responses": mixture.n_responses,
        "internal": dict(mixture.internal._asdict()),
        "known_scale": mixture.layout.known_scale,
        "n_features": mixture.n_features,
        "vector_y": mixture.vector_y,
        "feature_names": list(mixture.feature_names),
        "noise_std": mixture.noise_std if isinstance(mixture, RegressionFunction) else None,
    }


def _map_from_state(state: dict[str, Any], inputs: Any) -> FeatureMap:
    if "inner" in state:
        columns = tuple(int(c) for c in state["columns"])
        return InputMap(inputs, columns, PolynomialMap.from_state(state["inner"]))
    return PolynomialMap.from_state(state)


def _named(state: Mapping[str, Any], table: Mapping[str, type]) -> Any:
    spec = dict(state)
    return table[spec.pop("name")](**spec)


def mixture_from_state(state: dict[str, Any]) -> ConditionalMixture:
    """Rebuild a mixture."""
    gate, expert = state["gate"], state["expert"]
    if isinstance(gate, Mapping):  # files of the first version name the components
        gate, expert = _named(gate, GATES), _named(expert, EXPERTS)
    gate_map = _map_from_state(state["gate_map"], gate.inputs())
    expert_map = gate_map if state["expert_map"] is None else _map_from_state(state["expert_map"], None)
    internal = Parameters(**{name: np.asarray(value, dtype=float) for name, value in state["internal"].items()})
    layout = Layout(
        gate,
        expert,
        int(state["n_experts"]),
        int(state.get("n_predictors", state["n_responses"])),
        int(state["n_responses"]),
        gate_map.n_features,
        expert_map.n_features,
        np.asarray(state["known_scale"], dtype=float),
    )
    out = ConditionalMixture._from_internal(
        layout,
        internal,
        (gate_map, expert_map),
        int(state["n_features"]),
        bool(state["vector_y"]),
        state["feature_names"],
    )
    noise = state.get("noise_std")
    return out if noise is None else RegressionFunction.of(out, float(noise))


def result_state(result: FitResult) -> dict[str, Any]:
    """Plain data of a result."""
    out = dict(vars(result))
    return out | {
        "status": result.status.name,
        "certificate": dict(vars(result.certificate)),
        "active_bounds": list(result.active_bounds),
        "floored": list(result.floored),
        "messages": list(result.messages),
    }


def result_from_state(state: dict[str, Any]) -> FitResult:
    """Rebuild a result."""
    certificate = dict(state["certificate"])
    certificate["eigenvalues"] = np.asarray(certificate["eigenvalues"], dtype=float)
    separation = state["separation"]
    return FitResult(
        **state
        | {
            "status": Status[state["status"]],
            "certificate": Certificate(**certificate),
            "trace": np.asarray(state["trace"], dtype=float),
            "starts": np.asarray(state["starts"], dtype=float),
            "separation": None if separation is None else np.asarray(separation, dtype=float),
            "active_bounds": tuple(state["active_bounds"]),
            "floored": tuple(int(k) for k in state["floored"]),
            "messages": tuple(state["messages"]),
        }
    )
