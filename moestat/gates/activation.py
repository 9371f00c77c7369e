"""Activation gate: a nonlinear function of the linear score, over a temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from moestat.activations import Activation, gelu, sigmoid, tanh
from moestat.entries import read_entry
from moestat.gates.base import Array
from moestat.gates.masked import check_choice, check_number
from moestat.gates.nonlinear import NonlinearScores
from moestat.gates.parts import Parts

LOG_RANGE = 14.0  # of log τ: with τ = 1e-6 the gate is the softmax gate of slopes β1 s'(0)/τ to about twelve digits


ACTIVATIONS: dict[str, Activation] = {"tanh": tanh, "sigmoid": sigmoid, "gelu": gelu}


@dataclass(frozen=True)
class ActivationGate(NonlinearScores):
    """Activation gate: `π_k(x) ∝ exp((s(β1_kᵀx) + β0_k)/τ)` for a function s that is not homogeneous (Nguyen, Akbarian & Ho, "Is
    temperature sample efficient for softmax Gaussian mixture of experts?", ICML 2024).

    With the identity (or ReLU) in the place of s the temperature is not identified: `(c β1, c β0, c τ)` gives the same weights for every `c > 0`. A
    bounded or curved s fixes that scale; what is left is a common shift of the `β0`, pinned at zero for the last expert.

    Parameters
    ----------
    activation : {"tanh", "sigmoid", "gelu"}, default "tanh"
        The function s.
    temperature : float, optional
        τ where it is known; without it one τ for all experts is estimated.
    reference : bool, default True
        The last expert's slopes are zero, as in the theory. This is a model, not a gauge, and it singles one expert out: experts
        can then be put in another order only if the last one stays, or if there are two and s is odd but for a constant. With
        `False` all slopes are free, and experts may have any order.

    Raises
    ------
    ValueError
        If a parameter is outside its range; for `activation="relu"` with the reason.

    Notes
    -----
    Parameters are `gate_intercept (K,)`, `gate_coef (K, d)` and `gate_temperature`, a number; the free parameter is `log τ`. As τ and
    the slopes shrink together the gate tends to a softmax gate: an estimate of `log τ` on its bound of -14 says that.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.activation import ActivationGate
    >>> gate = ActivationGate("tanh", temperature=0.5)
    >>> _, log_prob = gate.forward(np.array([[0.2, 1.5, 0.0], [0.0, 0.0, 0.0]]), np.array([[1.0, 1.0], [-1.0, 1.0]]))
    >>> np.exp(log_prob).round(4)
    array([[0.1962, 0.9012],
           [0.8038, 0.0988]])
    """

    name: ClassVar[str] = "activation"

    activation: Literal["tanh", "sigmoid", "gelu"] = "tanh"
    temperature: float | None = None
    reference: bool = True

    def __post_init__(self) -> None:
        if str(self.activation) == "relu":
            raise ValueError(
                "activation='relu' is homogeneous, so that slopes, intercepts and temperature have one common factor that no data "
                f"identify; give one of {list(ACTIVATIONS)}."
            )
        check_choice("activation", self.activation, list(ACTIVATIONS))
        if self.temperature is not None:
            check_number("temperature", self.temperature, 0.0, np.inf, "")
        if not isinstance(self.reference, (bool, np.bool_)):
            raise ValueError(f"reference={self.reference!r} must be True or False.")

    # -- shape: (β0, β1, log of τ over the known one) --------------------------------------------------------------------

    def n_coef(self, n_features: int) -> int:
        """`β0`, `β1` and the temperature."""
        self.check_columns(n_features, 1)
        return n_features + 1

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """Intercepts and slopes by experts, then one temperature for all."""
        rows = super().index(n_experts, n_features)
        rows[:, -1] = -1
        if self.reference:
            rows[-1] = -1
        free = rows >= 0
        rows[free] = np.arange(free.sum())
        if self.temperature is None:
            rows[:, -1] = free.sum()
        return rows

    def bounds(self, n_experts: int, n_features: int) -> tuple[Array, Array]:
        """The temperature's."""
        high = np.full((n_experts, self.n_coef(n_features)), np.inf)
        high[:, -1] = LOG_RANGE
        return -high, high

    # -- the map ------------------------------------------------------------------------------------------------------

    def _scale(self, gamma: Array) -> Array:
        """τ as each row has it, `(K, 1)`."""
        return np.asarray((1.0 if self.temperature is None else float(self.temperature)) * np.exp(gamma[:, -1:]))

    def _curve(self, gamma: Array, z: Array) -> tuple[Array, Array, Array]:
        """The activation at the linear scores with its derivatives, each `(K, B)`."""
        return ACTIVATIONS[self.activation](gamma[:, 1:-1] @ z[1:])

    def scores(self, gamma: Array, z: Array) -> Array:
        """`(s(β1_kᵀx) + β0_k)/τ`."""
        return np.asarray((self._curve(gamma, z)[0] + gamma[:, :1]) / self._scale(gamma))

    def score_jacobian(self, gamma: Array, z: Array) -> Array:
        """`(1/τ, s' x/τ, -score)`."""
        value, slope, _ = self._curve(gamma, z)
        scale = self._scale(gamma)
        constant = np.ones_like(value)
        pieces = [constant[:, None], slope[:, None] * z[None, 1:], -(value + gamma[:, :1])[:, None]]
        return np.concatenate(pieces, axis=1) / scale[:, :, None]

    def score_curvature(self, gamma: Array, z: Array, weight: Array) -> Array:
        """`s'' x xᵀ/τ` in the slopes; in `log τ` the score itself, and with the others minus their derivatives."""
        value, slope, second = self._curve(gamma, z)
        x = z[1:]
        p = gamma.shape[1]
        out = np.zeros((len(gamma), p, p))
        out[:, 1:-1, 1:-1] = np.einsum("kb,ib,jb->kij", weight * second, x, x, optimize=True)
        out[:, -1, 0] = out[:, 0, -1] = -weight.sum(axis=1)
        out[:, -1, 1:-1] = out[:, 1:-1, -1] = -(weight * slope) @ x.T
        out[:, -1, -1] = (weight * (value + gamma[:, :1])).sum(axis=1)
        return out / self._scale(gamma)[:, :, None]

    # -- parameters ---------------------------------------------------------------------------------------------------

    def permute(self, gamma: Array, order: Sequence[int]) -> Array:
        """Coefficients of the gate with its experts in another order; see `reference`.

        Raises
        ------
        ValueError
            If an expert with slopes would be the reference.
        """
        moved = gamma[list(order)]
        if self.reference and moved[-1, 1:-1].any():
            if len(moved) != 2 or self.activation == "gelu":
                raise ValueError(
                    f"order={list(order)} makes expert {order[-1] + 1} the last one, whose slopes {self!r} takes as zero; keep the last "
                    "expert last, or give reference=False."
                )
            moved[:, 1:-1] = -moved[1, 1:-1], np.zeros(moved.shape[1] - 2)  # s(u) - s(0) is odd
        return self.canonical(moved)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the entries in the parameter dictionary."""
        return ("gate_coef", "gate_intercept", "gate_temperature")

    def to_params(self, gamma: Array, n_experts: int) -> dict[str, Array]:
        """`gate_coef`, `gate_intercept` and `gate_temperature`."""
        temperature = self._scale(gamma)[0, 0]
        return {**super().to_params(gamma[:, :-1], n_experts), "gate_temperature": np.asarray(temperature)}

    def from_params(self, params: Mapping[str, Any], n_experts: int, n_features: int) -> Array:
        """Raw coefficients `γ (K, 2 + d)`; a known temperature may be left out of the dictionary.

        Raises
        ------
        ValueError
            If an entry is missing or of the wrong shape, or the temperature is not positive or contradicts a known one.
        """
        known = self.temperature
        given = {**({} if known is None else {"gate_temperature": known}), **params}
        temperature = float(read_entry(given, "gate_temperature", ()))
        if temperature <= 0.0:
            raise ValueError(f"params['gate_temperature'] must be positive; got {temperature}.")
        if known is not None and not np.isclose(temperature, known, rtol=1e-8, atol=0.0):
            raise ValueError(f"params['gate_temperature'] is {temperature}, but {self!r} fixes it; leave it out.")
        linear = super().from_params(given, n_experts, n_features)
        return np.column_stack([linear, np.full(n_experts, 0.0 if known is not None else np.log(temperature))])

    def measure_parts(self, params: Mapping[str, Any], n_experts: int) -> Parts:
        """`exp(β0/τ)` as weights, and β1 and τ in the atoms."""
        tau = float(params["gate_temperature"])
        blocks = {"gate": params["gate_coef"], "temperature": np.full(n_experts, tau)}
        return Parts(params["gate_intercept"] / tau, blocks, "weights")

    def names(self, n_experts: int, terms: Sequence[str]) -> list[list[str]]:
        """`gate[1]:Intercept`, `gate[1]:x1`, …, `gate:log_temperature`."""
        return [[*(f"gate[{k + 1}]:{term}" for term in terms), "gate:log_temperature"] for k in range(n_experts)]
