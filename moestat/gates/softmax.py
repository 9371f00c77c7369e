"""Softmax gate: the log-odds of the experts are affine in x, or in a transform of x."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from moestat.gates.base import Array
from moestat.gates.inputs import resolve_transform
from moestat.gates.masked import SoftmaxScores, check_number
from moestat.gates.parts import Parts
from moestat.linalg import solve_psd


@dataclass(frozen=True)
class SoftmaxGate(SoftmaxScores):
    """Softmax gate.

    `π_k(x) = exp(s_k(x)) / Σ_j exp(s_j(x))`, `s_k(x) = (β0_k + β1_kᵀM(x)) / τ`, with `M(x) = x` and `τ = 1` by default.

    Invariant to a common shift of `(β0, β1)`; estimates are reported with the last expert's gate at zero (Jordan & Jacobs 1994;
    Nguyen et al., NeurIPS 2023).

    Parameters
    ----------
    transform : str or callable, optional
        Modified inputs `M(x)` (Nguyen, Akbarian, Nguyen & Ho, ICML 2024): "tanh", "sigmoid", "power:p", "normalized", "products", or a
        function from `(n, d)` to `(n, d')` arrays; see `moestat.gates.inputs.resolve_transform`.
    temperature : float, default 1.0
        The known temperature τ of dense-to-sparse gates. It cannot be estimated: `(cβ, cτ)` is the same gate as `(β, τ)`, so that only `β/τ` is
        identified. `ActivationGate` has a temperature that is.

    Raises
    ------
    ValueError
        If the transform is unknown or the temperature is not a positive number.

    Examples
    --------
    >>> from moestat.gates import SoftmaxGate
    >>> SoftmaxGate(transform="tanh")
    SoftmaxGate(transform='tanh', temperature=1.0)
    """

    name: ClassVar[str] = "softmax"

    transform: Any = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.transform is not None:
            resolve_transform(self.transform)
        if not isinstance(self.temperature, (int, float, np.number)):
            raise ValueError(
                f"temperature={self.temperature!r} cannot be estimated: (c β, c τ) is the same softmax gate as (β, τ), only β/τ is identified. "
                "Give a number, or use ActivationGate, whose temperature is identified."
            )
        check_number("temperature", self.temperature, 0.0, float("inf"), "")

    @property
    def general(self) -> bool:  # type: ignore[override]
        """Only a temperature needs the general route."""
        return float(self.temperature) != 1.0

    def inputs(self) -> Any:
        """The transform `M`, or None."""
        return None if self.transform is None else resolve_transform(self.transform)

    def n_inputs(self, params: Any) -> int:
        """Columns of X that `gate_coef` is about, as far as the transform tells."""
        width = super().n_inputs(params)
        counted = getattr(self.inputs(), "n_columns", None)
        columns = counted(width) if counted is not None else None
        return width if columns is None else int(columns)

    def scores(self, gamma: Array, z: Array) -> Array:
        """`γ z / τ`."""
        return super().scores(gamma, z) / float(self.temperature)

    def score_jacobian(self, gamma: Array, z: Array) -> Array:
        """`z / τ`."""
        return super().score_jacobian(gamma, z) / float(self.temperature)

    def reading(self, n_experts: int) -> str:
        """See `Gate.reading`."""
        return f"Gate: log-odds against expert {n_experts}, whose gate coefficients are zero."

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> Parts:
        """`exp(β0/τ)` as weights, and with a temperature β1 and τ in the atoms."""
        blocks = self.slope_blocks(params["gate_coef"])
        tau = float(self.temperature)
        if tau != 1.0:
            blocks["temperature"] = np.full(n_experts, tau)
        return Parts(params["gate_intercept"] / tau, blocks, "softmax")

    def slope_blocks(self, coef: Array) -> dict[str, Array]:
        """The slopes `(K, p)` as blocks of a mixing measure."""
        return {"gate": coef}

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
