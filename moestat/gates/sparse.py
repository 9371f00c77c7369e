"""Sparse softmax gates: the first K experts, a nucleus of given mass, or a budget of active experts on average."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from moestat.gates.base import Array
from moestat.gates.masked import (
    Mask,
    MaskedGate,
    check_choice,
    check_count,
    check_number,
    jump_messages,
    log_softmax,
    ranks,
)


@dataclass(frozen=True)
class TopKGate(MaskedGate):
    """Top-K sparse softmax gate: `π_k(x) ∝ exp(β0_k + β1_kᵀx)` for the k experts that rank first at x, zero for the others.

    Parameters
    ----------
    k : int, default 2
        Active experts; K or more is the dense softmax.
    ranking : {"slopes", "scores"}, default "slopes"
        Rank by `β1_kᵀx`, as the theory does (Nguyen et al., "Statistical perspective of top-K sparse softmax gating mixture of
        experts", 2024), or by the whole score. Ties go to the lower index. The slopes are those in the user's own columns.

    Raises
    ------
    ValueError
        If a parameter is outside its range, or `log_prob` is asked to rank by slopes, which scores do not tell: `forward` does.

    Notes
    -----
    Parameters are those of the softmax gate: `gate_intercept (K,)`, `gate_coef (K, d)`, the last expert's zero.

    **k = 1.** The weight of the active expert is one whatever its score: the gradient vanishes, the responsibilities are the mask, and
    neither EM nor a gradient learns the gate. What a fit returns is where its search through denser gates ended, with experts that are a
    maximum given these sets. Other ways are to fit the dense gate (with `solver="cem"` by hard assignments) and to put its parameters under
    `TopKGate(1)`; and least squares with raw weights, `PrototypeGate(1, "mean")`.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.sparse import TopKGate
    >>> np.exp(TopKGate(2, ranking="scores").log_prob(np.log([[1.0], [2.0], [3.0]]))).round(4)
    array([[0. ],
           [0.4],
           [0.6]])
    """

    name: ClassVar[str] = "topk"
    raw_features: ClassVar[bool] = True

    k: int = 2
    ranking: Literal["slopes", "scores"] = "slopes"

    def __post_init__(self) -> None:
        check_count("k", self.k, 1)
        check_choice("ranking", self.ranking, ("slopes", "scores"))

    def null_directions(self, n_experts: int, n_features: int) -> int:
        """For `k=1` the weights are 0 and 1: the common length of the coefficients, and intercepts that do not rank."""
        if self.k > 1 or n_experts == 1:
            return 0
        return n_experts if self.ranking == "slopes" and n_features > 1 else 1

    def messages(self, n_experts: int, active: float, certified: bool) -> list[str]:
        """See `jump_messages`."""
        return jump_messages(self, active == n_experts, certified, flat=self.k == 1)

    def mask(self, scores: Array) -> Mask:
        """The k highest."""
        if self.ranking == "slopes":
            raise ValueError(
                "TopKGate ranks by slopes, which scores do not tell; call forward, or give ranking='scores'."
            )
        return ranks(scores) < self.k

    def forward(self, gamma: Array, z: Array) -> tuple[Array, Array]:
        """Scores and log-probabilities."""
        if self.ranking == "scores":
            return super().forward(gamma, z)
        scores = self.scores(gamma, z)
        return scores, log_softmax(scores, ranks(gamma[:, 1:] @ z[1:]) < self.k)


@dataclass(frozen=True)
class TopPGate(MaskedGate):
    """Nucleus gate: the softmax renormalised over the fewest experts whose mass reaches p, the one that crosses p included.

    Every mask with mass p or more has at least as many experts; the total variation to the dense gate is at most `1 - p` at every x.

    Parameters
    ----------
    p : float in (0, 1], default 0.9
        Mass to keep; 1 is the dense softmax.

    Raises
    ------
    ValueError
        If p is outside its range.

    Notes
    -----
    Parameters are those of the softmax gate: `gate_intercept (K,)`, `gate_coef (K, d)`, the last expert's zero. Ties go to the lower index. A
    mass that misses p by rounding counts as p.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.sparse import TopPGate
    >>> np.exp(TopPGate(0.7).log_prob(np.log([[1.0], [4.0], [5.0]]))).round(4)
    array([[0.    ],
           [0.4444],
           [0.5556]])
    """

    name: ClassVar[str] = "topp"

    p: float = 0.9

    def __post_init__(self) -> None:
        check_number("p", self.p, 0.0, 1.0, "]")

    def mask(self, scores: Array) -> Mask:
        """The nucleus."""
        return nucleus(log_softmax(scores), self.p)


def nucleus(log_prob: Array, p: float) -> Mask:
    """The fewest experts whose mass reaches p, the one that crosses it included.

    An expert belongs to it while the mass from its rank on exceeds `1 - p`: a tail keeps its digits where `p` is near 1.
    """
    order = np.argsort(-log_prob, axis=0, kind="stable")
    ordered = np.take_along_axis(log_prob, order, axis=0)
    tail = np.logaddexp.accumulate(ordered[::-1], axis=0)[::-1]
    left = (
        (1.0 - p) + 8.0 * np.finfo(float).eps if p < 1.0 else 0.0
    )  # a tail of 1 - p, give or take rounding, is dropped
    kept = tail > (np.log(left) if left > 0.0 else -np.inf)
    kept[0] = True
    out = np.empty_like(kept)
    np.put_along_axis(out, order, kept, axis=0)
    return out


@dataclass(frozen=True)
class BudgetGate(MaskedGate):
    """Budget gate: the softmax renormalised over sets that spend a number of active experts, on average over x, where it counts.

    With the cumulative mass `c_j(x)` of the j experts of highest weight, the j-th is active while `log(c_j/c_{j-1}) ≥ λ`. As `log c_j`
    is concave in j, no masks of the same average size have a smaller mean `KL(π‖g)` from the dense gate g: it is the rule of top-K or
    of a nucleus with the number of experts moved to where they matter.

    Parameters
    ----------
    avg_active : float, at least 1, default 2.0
        Active experts on average.
    threshold : float, optional
        λ, at least 0 (0 is the dense softmax). A fit sets it once, by `calibrate` on the fit of the dense gate, and the fitted gate keeps it.
        In a mixture with known parameters it should be given: without it λ is set anew on every batch of scores that `log_prob` sees, so
        that the weights at one x depend on the other rows of its batch.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Parameters are those of the softmax gate: `gate_intercept (K,)`, `gate_coef (K, d)`, the last expert's zero. Ties go to the lower index.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.sparse import BudgetGate
    >>> scores = np.log([[1.0, 1.0], [1.0, 9.0], [1.0, 90.0]])
    >>> gate = BudgetGate(avg_active=1.5).calibrate(scores)
    >>> np.exp(gate.log_prob(scores)).round(4)
    array([[0.5, 0. ],
           [0.5, 0. ],
           [0. , 1. ]])
    """

    name: ClassVar[str] = "budget"

    avg_active: float = 2.0
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_number("avg_active", self.avg_active, 1.0, np.inf, "[")
        if self.threshold is not None:
            check_number("threshold", self.threshold, 0.0, np.inf, "[")

    @property
    def open_threshold(self) -> bool:  # type: ignore[override]
        """Whether λ is still to be set."""
        return self.threshold is None

    def messages(self, n_experts: int, active: float, certified: bool) -> list[str]:
        """Also the number of active experts, where the search has moved it away from what was asked for."""
        said, wanted = super().messages(n_experts, active, certified), min(self.avg_active, float(n_experts))
        if self.threshold is None and abs(active / wanted - 1.0) > 0.01:
            said.append(
                f"{active:.3g} experts are active on average, not avg_active={self.avg_active:g}: the threshold was set on the dense fit, and "
                f"scores have moved since. Give avg_active={max(wanted**2 / active, 1.0):.3g} to come nearer."
            )
        return said

    def calibrate(self, scores: Array, weight: ArrayLike | None = None) -> BudgetGate:
        """The gate with the lowest λ that spends no more than `avg_active` experts on average over the (weighted) scores.

        Midway between the last gain that is admitted and the first that is not; equal gains are admitted together.

        Parameters
        ----------
        scores : array (K, n)
        weight : array (n,), optional
        """
        if scores.size == 0 or len(scores) == 1:
            return replace(self, threshold=0.0)
        rows = np.ones(scores.shape[1]) if weight is None else np.asarray(weight, dtype=float)
        gains, inverse = np.unique(mass_gains(log_softmax(scores.real))[1:], return_inverse=True)
        spent = np.bincount(inverse.ravel(), np.broadcast_to(rows, (len(scores) - 1, len(rows))).ravel()) / rows.sum()
        budget = (self.avg_active - 1.0) * (1.0 + 1e-12)
        n = int(np.searchsorted(np.cumsum(spent[::-1]), budget, side="right"))
        if n == len(gains):
            return replace(self, threshold=0.0)
        levels = np.concatenate([[1.0], gains[::-1]])  # no gain exceeds log 2
        return replace(self, threshold=float(0.5 * (levels[n] + levels[n + 1])))

    def mask(self, scores: Array) -> Mask:
        """The experts whose gain reaches λ, and the first."""
        threshold = self.calibrate(scores).threshold if self.threshold is None else self.threshold
        log_prob = log_softmax(scores)
        return np.take_along_axis(mass_gains(log_prob) >= np.float64(threshold), ranks(log_prob), axis=0)


def mass_gains(log_prob: Array) -> Array:
    """`log(c_j/c_{j-1})` for the cumulative mass of the j highest weights, `(K, B)` by rank; infinite for the first."""
    ordered = -np.sort(-log_prob, axis=0)
    cumulative = np.logaddexp.accumulate(ordered, axis=0)
    out = np.full_like(log_prob, np.inf)
    out[1:] = np.log1p(np.exp(ordered[1:] - cumulative[:-1]))
    return out
