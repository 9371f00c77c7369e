"""Hybrid gate: a nucleus where the softmax is decided, all experts where its entropy is high; and the Tsallis entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moestat.gates.base import Array
from moestat.gates.masked import Mask, MaskedGate, check_count, check_number, log_softmax, ranks
from moestat.gates.sparse import nucleus


@dataclass(frozen=True)
class HybridEntropyGate(MaskedGate):
    """Hybrid gate of DynMoLE: a nucleus of the softmax g, and all experts where the Tsallis entropy of g is high.

    Active are the nucleus of mass `top_p` and the `keep_top_k` highest weights; all, where the entropy
    `S_q(g) = (1 - Σ_k g_k^q)/(q - 1)` exceeds `threshold` times its maximum. The softmax is renormalised over them.

    Parameters
    ----------
    top_p : float in (0, 1], default 0.75
        Mass of the nucleus, the expert that crosses it included (see `TopPGate`).
    keep_top_k : int, default 2
        Experts that are always active.
    entropy_index : float in (0, 2], default 1.1
        q; 1 is Shannon's entropy.
    threshold : float, at least 0, default 0.9
        Share of the largest entropy beyond which all are active; 1 or more never, 0 wherever a weight is shared at all.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Parameters are those of the softmax gate: `gate_intercept (K,)`, `gate_coef (K, d)`, the last expert's zero. The defaults are those of Li et al.,
    "DynMoLE" (2025), whose code leaves out the crossing expert and does not renormalise.

    Examples
    --------
    >>> import numpy as np
    >>> from moestat.gates.hybrid import HybridEntropyGate
    >>> gate = HybridEntropyGate(top_p=0.5, keep_top_k=1)
    >>> np.exp(gate.log_prob(np.log([[1.0, 3.0], [1.0, 2.0], [8.0, 5.0]]))).round(4)
    array([[0. , 0.3],
           [0. , 0.2],
           [1. , 0.5]])
    """

    name: ClassVar[str] = "hybrid"

    top_p: float = 0.75
    keep_top_k: int = 2
    entropy_index: float = 1.1
    threshold: float = 0.9

    def __post_init__(self) -> None:
        check_number("top_p", self.top_p, 0.0, 1.0, "]")
        check_count("keep_top_k", self.keep_top_k)
        check_number("entropy_index", self.entropy_index, 0.0, 2.0, "]")
        check_number("threshold", self.threshold, 0.0, np.inf, "[")

    def mask(self, scores: Array) -> Mask:
        """Nucleus and first experts; all where the entropy is high."""
        log_prob = log_softmax(scores)
        few = nucleus(log_prob, self.top_p) | (ranks(log_prob) < self.keep_top_k)
        if self.threshold >= 1.0:  # a flat softmax may exceed one by rounding
            return few
        return few | (tsallis_entropy(log_prob, self.entropy_index, normalised=True) > self.threshold)


def tsallis_entropy(log_prob: Array, q: float, normalised: bool = False) -> Array:
    """Tsallis entropy `S_q = (1 - Σ_k π_k^q)/(q - 1)` of `log π (K, B)`, `(B,)`; Shannon's for `q = 1`.

    `normalised` divides by its largest value, that of equal weights; the entropy of a single expert is zero.
    """
    gap, power = abs(q - 1.0), min(q, 1.0)

    def terms(x: Array) -> Array:
        """`(π^q - π)/(1 - q)`: no overflow as the exponents are negative, no cancellation at q near 1."""
        return np.asarray(-np.exp(power * x) * (np.expm1(gap * x) / gap if gap > 0.0 else x))

    entropy = terms(log_prob).sum(axis=0)
    if not normalised or len(log_prob) == 1:
        return np.asarray(entropy)
    return np.asarray(entropy / (len(log_prob) * terms(np.array(-np.log(len(log_prob))))))
