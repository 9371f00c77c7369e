"""Constant gate: weights that do not depend on x."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moestat.gates.base import Array, Gate
from moestat.gates.parts import Parts


@dataclass(frozen=True)
class ConstantGate(Gate):
    """Constant gate: `π_k(x) = π_k`, the finite mixture of regressions.

    Parameters
    ----------
    equal : bool, default False
        Fix all weights at `1/K`.

    Examples
    --------
    >>> from moestat.gates import ConstantGate
    >>> ConstantGate(equal=True)
    ConstantGate(equal=True)
    """

    name: ClassVar[str] = "constant"
    degree: ClassVar[int] = 0

    equal: bool = False

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """None are free when the weights are equal."""
        out = super().index(n_experts, n_features)
        return np.full_like(out, -1) if self.equal else out

    def maximise(
        self, coef: Array, gradient: Array, information: Array, gram: Array, mass: Array, step: float
    ) -> Array:
        """Closed form: `π_k` is the share of responsibility of expert k."""
        if coef.size == 0:
            return coef
        floor = 1e-12 * float(mass.sum())
        target = np.log(np.maximum(mass[:-1], floor) / max(float(mass[-1]), floor))[:, None]
        return np.asarray(coef + (step if step > 0.0 else 1.0) * (target - coef))

    def from_params(self, params: Mapping[str, Any], n_experts: int, n_features: int) -> Array:
        """Raw coefficients; equal weights may be left out of the dictionary."""
        given = {"gate_intercept": np.zeros(n_experts)} if self.equal else {}
        return super().from_params({**given, **params}, n_experts, n_features)

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> Parts:
        """The weights π themselves."""
        intercept = params["gate_intercept"]
        return Parts(intercept - np.logaddexp.reduce(intercept), {}, "none")
