"""Softmax of scores, over all experts or those of a mask: values and derivatives that hold to rounding, and base classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moestat.gates.base import Array, Gate
from moestat.gates.scores import ScoreGate
from moestat.kernels.functions import exp, log1p, log_total

Mask = NDArray[np.bool_]

# -- formulas ---------------------------------------------------------------------------------------------------------


def log_softmax(scores: Array, active: Mask | None = None) -> Array:
    """`s_k - log Σ_j exp s_j` over the active experts, `-inf` at the others; relatively exact also near zero.

    Complex scores pass, for complex steps.
    """
    real = scores.real if active is None else np.where(active, scores.real, -np.inf)
    moved = scores - real.max(axis=0)
    if active is not None:
        moved = np.where(active, moved, -np.inf)
    return np.asarray(moved - log_total(moved))


def log_sigmoid(scores: Array) -> Array:
    """`log σ(s) = -log(1 + exp(-s))` without overflow; complex scores pass."""
    positive = scores.real > 0.0
    return np.asarray(np.where(positive, 0.0, scores) - log1p(exp(np.where(positive, -scores, scores))))


def softmax_jacobian(log_prob: Array) -> Array:
    """`∂ log π_k/∂s_j = δ_kj - π_j`, `(K, K, B)`; the diagonal is the sum of the others, which does not cancel."""
    out = np.repeat(-exp(log_prob)[None], len(log_prob), axis=0)
    return _rows_to_zero(out)


def softmax_curvature(log_prob: Array, total: Array) -> Array:
    """`-(diag π - ππᵀ) total`, `(K, K, B)`, for the sum of the weights `total (B,)`."""
    prob = exp(log_prob)
    return _rows_to_zero(prob[:, None] * (prob * total))


def _rows_to_zero(matrix: Array) -> Array:
    """`matrix (K, K, B)` with the diagonal that makes rows sum to zero, in place."""
    k = np.arange(len(matrix))
    matrix[k, k] = 0.0
    matrix[k, k] = -matrix.sum(axis=1)
    return matrix


def ranks(values: Array) -> NDArray[np.int64]:
    """Rank from the top of every expert, `(K, B)`; of equal ones the lower index comes first."""
    order = np.argsort(-values, axis=0, kind="stable")
    out = np.empty_like(order)
    np.put_along_axis(out, order, np.arange(len(values))[:, None], axis=0)
    return out


def numbered(free: Mask) -> NDArray[np.int64]:
    """The numbers 0, 1, … at the free coefficients, -1 at the pinned ones."""
    out = np.full(free.shape, -1)
    out[free] = np.arange(free.sum())
    return out


# -- base classes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SoftmaxScores(ScoreGate):
    """Softmax of one score an expert, the last expert's pinned at zero: `log π_k = s_k - log Σ_j exp s_j`.

    `moestat.gates.SoftmaxGate` in the form of scores, inside other gates. Parameters are those of that gate: `gate_coef (K, d)` and
    `gate_intercept (K,)`, invariant to a common shift.

    Examples
    --------
    >>> import numpy as np
    >>> SoftmaxScores().log_prob(np.log([[1.0], [3.0]])).round(4)
    array([[-1.3863],
           [-0.2877]])
    """

    scoring: ClassVar[bool] = True

    def n_scores(self, n_experts: int) -> int:
        """One an expert."""
        return n_experts

    def index(self, n_experts: int, n_features: int) -> NDArray[np.int64]:
        """The last row is pinned."""
        free = np.ones((n_experts, n_features), dtype=bool)
        free[-1] = False
        return numbered(free)

    def log_prob(self, scores: Array) -> Array:
        """`log π`, `(K, B)`."""
        return log_softmax(scores)

    def jacobian(self, scores: Array, log_prob: Array) -> Array:
        """`δ_kj - π_j`; with a mask `π` is zero outside it, and the mask is taken as constant."""
        return softmax_jacobian(log_prob)

    def curvature(self, scores: Array, log_prob: Array, weight: Array) -> Array:
        """`-(diag π - ππᵀ) Σ_k weight_k`."""
        return softmax_curvature(log_prob, weight.sum(axis=0))

    def canonical(self, gamma: Array) -> Array:
        """The last row subtracted."""
        return np.asarray(gamma - gamma[-1])

    def permute(self, gamma: Array, order: Sequence[int]) -> Array:
        """The rows in that order, the last one zero again."""
        return self.canonical(gamma[list(order)])


@dataclass(frozen=True)
class MaskedGate(SoftmaxScores):
    """A softmax renormalised over a non-empty set `M(x)` of active experts, which depends on the gate alone.

    `π_k = 1{k ∈ M} g_k/m` with the dense softmax g and the kept mass `m(x) = Σ_M g_j`: a density, with `KL(π‖g) = -log m` and
    total variation `1 - m`. Derivatives take the mask as constant. The log-likelihood jumps where a mask changes, so ascent
    holds only while masks stay, a certificate of a fit is one among gates with the same masks at all rows, and so are standard errors.
    """

    def mask(self, scores: Array) -> Mask:
        """The active experts, `(K, B)`."""
        raise NotImplementedError

    def log_prob(self, scores: Array) -> Array:
        """`log π`, `(K, B)`; `-inf` outside the mask."""
        return log_softmax(scores, self.mask(scores.real))

    def messages(self, n_experts: int, active: float, certified: bool) -> list[str]:
        """See `jump_messages`."""
        return jump_messages(self, active == n_experts, certified)

    def reading(self, n_experts: int) -> str:
        """See `Gate.reading`."""
        return (
            f"Gate: log-odds against expert {n_experts} where both are active; errors are those of gates with the same active experts "
            "at every row."
        )

    def kept_mass(self, gamma: Array, z: Array) -> Array:
        """Mass `m(x)` of the dense gate on the active experts, `(B,)`."""
        scores, log_prob = self.forward(gamma, z)
        kept = np.where(np.isneginf(log_prob), 0.0, np.exp(log_softmax(scores))).sum(axis=0)
        return np.asarray(np.minimum(kept, 1.0))

    def dense(self) -> Gate:
        """The softmax gate, whose coefficients these are."""
        from moestat.gates.softmax import SoftmaxGate

        return SoftmaxGate()


def jump_messages(gate: Gate, dense: bool, certified: bool, flat: bool = False) -> list[str]:
    """What to say of a fit of a gate that switches experts off (unless they are all active, `dense`); `flat`: its weights are constants."""
    if dense:
        return []
    if flat:
        return [
            f"the active weights of gate={gate!r} are constants, so that no derivative tells where its coefficients should go: they come from a "
            "search through softer gates, and only the experts' are certified. Compare more starts (n_init) and the dense gate."
        ]
    if certified:
        return []
    return [
        f"the likelihood jumps where gate={gate!r} switches an expert on or off, and its maxima are at jumps, where no derivative certifies "
        "them: this is the best that was found. Compare more starts (n_init), other seeds, and the dense gate."
    ]


# -- checks of hyperparameters ----------------------------------------------------------------------------------------


def check_count(name: str, value: Any, low: int = 0) -> None:
    """A ValueError unless the value is an integer of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise ValueError(f"{name}={value!r} must be an integer of at least {low}.")


def check_number(name: str, value: Any, low: float, high: float, closed: str) -> None:
    """A ValueError unless the value is in the interval; `closed` has `[` and `]` for the ends that belong to it."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    above = number and (value >= low if "[" in closed else value > low)
    if not (above and (value <= high if "]" in closed else value < high)):
        left, right = ("[" if "[" in closed else "("), ("]" if "]" in closed else ")")
        raise ValueError(f"{name}={value!r} must be a number in {left}{low}, {high}{right}.")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """A ValueError unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not known; give one of {list(choices)}.")
