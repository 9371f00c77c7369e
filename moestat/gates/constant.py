"""Constant gate: weights that do not depend on x."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moestat.gates.base import Array, Gate


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

    def n_free(self, n_experts: int) -> int:
        """None are free when the weights are equal."""
        return 0 if self.equal else n_experts - 1

    def maximise(
        self, coef: Array, gradient: Array, information: Array, gram: Array, mass: Array, step: float
    ) -> Array:
        """Closed form: `π_k` is the share of responsibility of expert k."""
        if coef.size == 0:
            return coef
        floor = 1e-12 * float(mass.sum())
        target = np.log(np.maximum(mass[:-1], floor) / max(float(mass[-1]), floor))[:, None]
        return np.asarray(coef + (step if step > 0.0 else 1.0) * (target - coef))
