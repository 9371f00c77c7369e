"""Names of all components, and the component that a name or an object means; command line, docs and conformance tests iterate these."""

from __future__ import annotations

from typing import Any

from moestat.experts.base import BaseExpert
from moestat.experts.gaussian import GaussianExpert
from moestat.gates.base import Gate
from moestat.gates.constant import ConstantGate
from moestat.gates.softmax import SoftmaxGate

GATES: dict[str, type[Gate]] = {cls.name: cls for cls in (SoftmaxGate, ConstantGate)}
EXPERTS: dict[str, type[BaseExpert]] = {cls.name: cls for cls in (GaussianExpert,)}


def resolve_gate(gate: Any) -> Gate:
    """The gate named or given.

    Raises
    ------
    ValueError
        If it is neither a gate nor a known name.
    """
    if isinstance(gate, Gate):
        return gate
    if not isinstance(gate, str) or gate not in GATES:
        raise ValueError(f"gate={gate!r} is not known; give one of {sorted(GATES)} or a gate object.")
    return GATES[gate]()


def resolve_expert(expert: Any, degree: int = 1) -> BaseExpert:
    """The expert named or given; `degree` is used for a name only.

    Raises
    ------
    ValueError
        If it is neither an expert nor a known name.
    """
    if isinstance(expert, BaseExpert):
        return expert
    if not isinstance(expert, str) or expert not in EXPERTS:
        raise ValueError(f"expert={expert!r} is not known; give one of {sorted(EXPERTS)} or an expert object.")
    return EXPERTS[expert](degree=degree)  # type: ignore[call-arg]
