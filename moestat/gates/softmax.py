"""Softmax gate: the log-odds of the experts are affine in x."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from moestat.gates.base import Array, Gate
from moestat.linalg import solve_psd


@dataclass(frozen=True)
class SoftmaxGate(Gate):
    """Softmax gate.

    `π_k(x) = exp(β0_k + β1_kᵀx) / Σ_j exp(β0_j + β1_jᵀx)`.

    Invariant to a common shift of `(β0, β1)`; estimates are reported with the last expert's gate at zero
    (Jordan & Jacobs 1994; Nguyen et al., NeurIPS 2023).

    Examples
    --------
    >>> from moestat.gates import SoftmaxGate
    >>> SoftmaxGate()
    SoftmaxGate()
    """

    name: ClassVar[str] = "softmax"
    degree: ClassVar[int] = 1

    def maximise(
        self, coef: Array, gradient: Array, information: Array, gram: Array, mass: Array, step: float
    ) -> Array:
        """Newton step on Σ resp log π, or the step of Böhning's lower bound for `step = 0`; see `Gate.maximise`."""
        if coef.size == 0:
            return coef
        if step > 0.0:
            return coef + step * solve_psd(information, gradient.reshape(-1, 1)).reshape(coef.shape)
        # Böhning: -∇² <= ½ (I - 11ᵀ/K) ⊗ Σ w zzᵀ, whose inverse is 2 (I + 11ᵀ) ⊗ (Σ w zzᵀ)^-1
        return coef + 2.0 * solve_psd(gram, (gradient + gradient.sum(axis=0)).T).T
