"""Names of all components, and the component that a name or an object means; command line, docs and conformance tests iterate these."""

from __future__ import annotations

from typing import Any

from moestat import experts, gates
from moestat.experts.base import BaseExpert
from moestat.experts.means import LinearMean, MeanExpert
from moestat.experts.ridge import NonlinearMean
from moestat.gates.base import Gate

GATES: dict[str, type[Gate]] = {
    cls.name: cls
    for cls in (
        gates.SoftmaxGate,
        gates.ConstantGate,
        gates.NormalizedSigmoidGate,
        gates.SigmoidGate,
        gates.QuadraticGate,
        gates.QuadraticMonomialGate,
        gates.LaplaceGate,
        gates.GaussianGate,
        gates.CosineGate,
        gates.PerturbedCosineGate,
        gates.ActivationGate,
        gates.HierarchicalGate,
        gates.SharedExperts,
        gates.TopKGate,
        gates.TopPGate,
        gates.BudgetGate,
        gates.HybridEntropyGate,
        gates.PrototypeGate,
        gates.FactorialGate,
    )
}
EXPERTS: dict[str, type[BaseExpert]] = {
    cls.name: cls
    for cls in (
        experts.GaussianExpert,
        experts.StudentTExpert,
        experts.LaplaceExpert,
        experts.SkewNormalExpert,
        experts.GammaExpert,
        experts.LognormalExpert,
        experts.InverseGaussianExpert,
        experts.BetaExpert,
        experts.MultinomialExpert,
        experts.BinomialExpert,
        experts.PoissonExpert,
        experts.NegativeBinomialExpert,
        experts.ZeroInflatedPoissonExpert,
        experts.ZeroInflatedNegativeBinomialExpert,
        experts.HurdlePoissonExpert,
        experts.HurdleNegativeBinomialExpert,
        experts.NormalExpert,
        experts.MixedExperts,
        experts.CensoredExpert,
        experts.NonlinearExpert,
        experts.FactorialExpert,
    )
}

MEANS: dict[str, type[MeanExpert]] = {cls.name: cls for cls in (LinearMean, NonlinearMean)}  # what least squares fits


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
