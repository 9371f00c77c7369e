"""Losses of a selected number of experts: one where it is wrong, zero where it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["SELECTION", "wrong_number"]

SELECTION = ("wrong:dsc", "wrong:bic", "wrong:aic")


def wrong_number(name: str, estimate: Any, n_true: int, X: Array, y: Array) -> float:
    """Whether the number of experts that a criterion chooses differs from the truth's: 1.0 or 0.0.

    ``wrong:dsc`` is the criterion of the dendrogram of the over-specified ``estimate``; ``wrong:bic`` and ``wrong:aic`` compare fits of all
    smaller numbers, each started at its level of that dendrogram.
    """
    from ..dendrograms import dendrogram
    from ..fitting import fit_mixture

    tree = dendrogram(estimate, X, y)
    if name == "wrong:dsc":
        return float(tree.n_experts != n_true)
    penalty = np.log(len(X)) if name == "wrong:bic" else 2.0
    scores = {}
    for level in tree.mixtures:
        k = level.n_experts
        fitted = fit_mixture(X, y, k, gate=level.gate, expert=level.expert, init=level.params)
        scores[k] = penalty * len(fitted.mixture.free_vector()) - 2.0 * fitted.result.loglik
    return float(min(scores, key=lambda k: scores[k]) != n_true)
