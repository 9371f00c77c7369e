"""Fitted state as plain data and back (for `save` and `load`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from moestat.layout import Layout, Parameters
from moestat.maps import PolynomialMap
from moestat.mixture import ConditionalMixture
from moestat.registry import EXPERTS, GATES
from moestat.solvers.base import FitResult, Status
from moestat.solvers.certificate import Certificate


def mixture_state(mixture: ConditionalMixture) -> dict[str, Any]:
    """Plain data of a mixture, internal coordinates included."""
    shared = mixture.gate_map is mixture.expert_map
    return {
        "gate": {"name": mixture.gate.name, **mixture.gate.get_params()},
        "expert": {"name": mixture.expert.name, **mixture.expert.get_params()},
        "gate_map": mixture.gate_map.to_state(),
        "expert_map": None if shared else mixture.expert_map.to_state(),
        "n_experts": mixture.n_experts,
        "n_responses": mixture.n_responses,
        "internal": dict(mixture.internal._asdict()),
        "known_scale": mixture.layout.known_scale,
        "n_features": mixture.n_features,
        "vector_y": mixture.vector_y,
        "feature_names": list(mixture.feature_names),
    }


def mixture_from_state(state: dict[str, Any]) -> ConditionalMixture:
    """Rebuild a mixture."""
    gate_spec, expert_spec = dict(state["gate"]), dict(state["expert"])
    gate = GATES[gate_spec.pop("name")](**gate_spec)
    expert = EXPERTS[expert_spec.pop("name")](**expert_spec)
    gate_map = PolynomialMap.from_state(state["gate_map"])
    expert_map = gate_map if state["expert_map"] is None else PolynomialMap.from_state(state["expert_map"])
    internal = Parameters(**{name: np.asarray(value, dtype=float) for name, value in state["internal"].items()})
    layout = Layout(
        gate,
        expert,
        int(state["n_experts"]),
        int(state["n_responses"]),
        gate_map.n_features,
        expert_map.n_features,
        np.asarray(state["known_scale"], dtype=float),
    )
    return ConditionalMixture._from_internal(
        layout,
        internal,
        (gate_map, expert_map),
        int(state["n_features"]),
        bool(state["vector_y"]),
        state["feature_names"],
    )


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
