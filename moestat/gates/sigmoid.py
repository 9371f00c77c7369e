"""Sigmoid gate: weights between zero and one that do not sum to one, for least squares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit

from moestat.gates.base import Array
from moestat.gates.masked import check_choice, log_sigmoid
from moestat.gates.parts import Parts
from moestat.gates.scores import ScoreGate


@dataclass(frozen=True)
class SigmoidScores(ScoreGate):
    """What sigmoid gates share: a score an expert, all free, polynomial in x of degree 0, 1 or 2."""

    degree: int = 1  # type: ignore[misc]

    def __post_init__(self) -> None:
        check_choice("degree", self.degree, (0, 1, 2))

    def n_scores(self, n_experts: int) -> int:
        """One an expert."""
        return n_experts

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> Parts:
        """`σ(β0)` as weights, and `β1` and `β0` in the atoms, as no translation leaves the weights alone."""
        intercept = params["gate_intercept"]
        return Parts(log_sigmoid(intercept), {"gate": params["gate_coef"], "gate_intercept": intercept}, "none")


@dataclass(frozen=True)
class SigmoidGate(SigmoidScores):
    """Sigmoid gate, not normalised: `w_k(x) = σ(s_k(x))`, `σ(s) = 1/(1 + exp(-s))`, `s_k(x) = β0_k + β1_kᵀx`.

    For least squares, where the mean is `Σ_k w_k(x) h_k(x)` (Nguyen et al., "Sigmoid gating is more sample efficient than softmax
    gating in mixture of experts", 2024); the weights do not sum to one, so there is no density. No score is pinned.

    Parameters
    ----------
    degree : {0, 1, 2}, default 1
        Degree of the scores in x.

    Raises
    ------
    ValueError
        If the degree is another one.

    Notes
    -----
    Parameters are `gate_intercept (K,)` and `gate_coef (K, p)`. An intercept that tends to -∞ switches its expert off.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.sigmoid import SigmoidGate
    >>> np.exp(SigmoidGate().log_prob(np.array([[0.0], [np.log(3.0)]]))).round(4)
    array([[0.5 ],
           [0.75]])
    """

    name: ClassVar[str] = "sigmoid"
    normalised: ClassVar[bool] = False

    def log_prob(self, scores: Array) -> Array:
        """`log σ(s)`, `(K, B)`."""
        return log_sigmoid(scores)

    def jacobian(self, scores: Array, log_prob: Array) -> Array:
        """`δ_kj σ(-s_k)`."""
        return diagonal(expit(-scores))

    def curvature(self, scores: Array, log_prob: Array, weight: Array) -> Array:
        """`-δ_ij weight_i σ(s_i) σ(-s_i)`."""
        return diagonal(-weight * expit(scores) * expit(-scores))


def diagonal(values: Array) -> Array:
    """Diagonal matrices `(K, K, B)` of `values (K, B)`."""
    out = np.zeros((len(values), *values.shape))
    k = np.arange(len(values))
    out[k, k] = values
    return out
