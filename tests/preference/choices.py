"""Simulated choices, and the likelihood of the model written down plainly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mpmath
import numpy as np


def simulate(
    rng: np.random.Generator,
    W: Any,
    gamma: Any,
    *,
    n_annotators: int = 60,
    n_each: int = 8,
    m: int = 2,
) -> dict[str, Any]:
    """Choices of annotators from rewards `W (K, p)` and a gate `gamma (K, 1 + q)` on standard normal covariates."""
    W, gamma = np.asarray(W, dtype=float), np.asarray(gamma, dtype=float)
    U = rng.normal(size=(n_annotators, gamma.shape[1] - 1))
    group = np.argmax(gamma[:, 0] + U @ gamma[:, 1:].T + rng.gumbel(size=(n_annotators, len(W))), axis=1)
    annotator = np.repeat(np.arange(n_annotators), n_each)
    sets = rng.normal(size=(len(annotator), m, W.shape[1]))
    utility = np.einsum("tmp,tp->tm", sets, W[group[annotator]]) + rng.gumbel(size=sets.shape[:2])
    return {"sets": sets, "chosen": utility.argmax(axis=1), "annotator": annotator, "U": U, "group": group}


def plain_loglik(
    gate: Sequence[Sequence[Any]],
    coef: Sequence[Sequence[Any]],
    sets: Sequence[Any],
    chosen: Sequence[int],
    annotator: Sequence[int],
    U: Any,
    weight: Sequence[float] | None = None,
) -> Any:
    """`Σ_a log Σ_k π_k(u_a) Π_t P_k(choice t)^ω_t` in mpmath, one sum after the other; `gate (K, 1 + q)`, `coef (K, p)`."""
    total = mpmath.mpf(0)
    for a in sorted(set(annotator)):
        score = [g[0] + sum((g[1 + j] * mpmath.mpf(float(u)) for j, u in enumerate(U[a])), mpmath.mpf(0)) for g in gate]
        odds = [mpmath.exp(s) for s in score]
        likelihood = mpmath.mpf(0)
        for k, w in enumerate(coef):
            term = odds[k] / sum(odds)
            for t, who in enumerate(annotator):
                if who == a:
                    strength = [
                        mpmath.exp(sum(w[j] * mpmath.mpf(float(v)) for j, v in enumerate(phi))) for phi in sets[t]
                    ]
                    term *= (strength[chosen[t]] / sum(strength)) ** mpmath.mpf(
                        1.0 if weight is None else float(weight[t])
                    )
            likelihood += term
        total += mpmath.log(likelihood)
    return total
