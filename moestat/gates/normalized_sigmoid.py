"""Normalised sigmoid gate: sigmoids of the scores, divided by their sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from moestat.gates.base import Array
from moestat.gates.masked import log_sigmoid, log_softmax, softmax_curvature, softmax_jacobian
from moestat.gates.sigmoid import SigmoidScores, diagonal
from moestat.kernels.functions import expit


@dataclass(frozen=True)
class NormalizedSigmoidGate(SigmoidScores):
    """Normalised sigmoid gate: `π_k(x) = σ(s_k(x))/Σ_l σ(s_l(x))`, `s_k(x) = β0_k + β1_kᵀx`, `σ(s) = 1/(1 + exp(-s))`.

    The gate of DeepSeek-V3 (Nguyen et al., "On DeepSeekMoE", 2025, eq. 8). There is no reference expert: all K scores are free.

    Parameters
    ----------
    degree : {0, 1, 2}, default 1
        Degree of the scores in x. With 0 the K parameters make K - 1 weights, so that one of them is not identified.

    Raises
    ------
    ValueError
        If the degree is another one.

    Notes
    -----
    Parameters are `gate_intercept (K,)` and `gate_coef (K, p)`. **A ridge:** where all scores are low, `σ(s) ≈ exp(s)`; the gate tends
    to a softmax, and a common shift of the scores hardly changes it (`s - C` is within about `exp(max s - C)` of the softmax of
    s). On data from a softmax gate the intercepts therefore drift to -∞ along a flat likelihood: bound or penalise them.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.normalized_sigmoid import NormalizedSigmoidGate
    >>> np.exp(NormalizedSigmoidGate().log_prob(np.array([[0.0], [np.log(3.0)]]))).round(4)
    array([[0.4],
           [0.6]])
    """

    name: ClassVar[str] = "normalized_sigmoid"
    linked: ClassVar[bool] = True

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """All are free, but for a single expert, whose weight is one."""
        out = super().index(n_experts, n_features)
        return np.full_like(out, -1) if n_experts == 1 else out

    def null_directions(self, n_experts: int, n_features: int) -> int:
        """One where the weights do not depend on x: they have a sum."""
        return int(n_features == 1 and n_experts > 1)

    def log_prob(self, scores: Array) -> Array:
        """The softmax of `log σ(s)`, `(K, B)`."""
        return log_softmax(log_sigmoid(scores))

    def jacobian(self, scores: Array, log_prob: Array) -> Array:
        """`(δ_kj - π_j) σ(-s_j)`."""
        return np.asarray(softmax_jacobian(log_prob) * expit(-scores))

    def curvature(self, scores: Array, log_prob: Array, weight: Array) -> Array:
        """The chain rule: `-W σ(-s_i) (diag π - ππᵀ)_ij σ(-s_j) - δ_ij (weight_i - W π_i) σ(s_i) σ(-s_i)`, `W = Σ_k weight_k`."""
        total, slope = weight.sum(axis=0), expit(-scores)
        bend = (weight - total * np.exp(log_prob)) * expit(scores) * slope
        return np.asarray(softmax_curvature(log_prob, total) * slope[:, None] * slope - diagonal(bend))
