"""The loss of the merged moments of cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moestat.losses.atomwise import LossKind
from moestat.losses.blocks import Array, Index, Pairs
from moestat.losses.gauge import RadialSum


@dataclass(frozen=True, kw_only=True)
class MergedLoss(LossKind):
    """Norms of the merged moments of the cells; zero whenever each cell has the truth's moments.

    ``|Σ w Δβ| + |Σ w Δb| + |Σ w (Δa + Δb Δβ')| + |Σ w (Δσ + Δb Δb')|``, sums over a cell. Gate and experts interact in the
    third moment only where the gauge translates slopes: without that it is ``Σ w Δa``.
    """

    blocks: tuple[str, ...] | None = ("gate", "coef", "intercept", "variance")

    def radial_sum(self, pairs: Pairs, assignments: Index) -> RadialSum:
        """See `LossKind`: two norms a cell are affine in t2, that of the slopes' and that of the coefficients' moment."""
        _check(pairs)
        rows = [_cell_moments(pairs, assignment) for assignment in assignments]
        factor, centre, offset, constant = (np.stack([np.stack(part) for part in parts]) for parts in zip(*rows))
        return RadialSum(factor, centre, offset, np.ones_like(factor), constant.sum(axis=1))

    def terms(self, pairs: Pairs, assignment: Index, t2: Array) -> dict[str, float]:
        """The norms of the moments, summed over cells."""
        _check(pairs)
        total = dict.fromkeys(pairs.names, 0.0)
        for cell, j in _nonempty(assignment):
            moments = _moments(pairs, cell, j, t2)
            for name in total:
                total[name] += float(np.linalg.norm(moments[name]))
        return total


def _check(pairs: Pairs) -> None:
    d = pairs.gate.shape[2]
    columns = pairs.blocks["coef"].shape[3] if "coef" in pairs.blocks else 0
    if d and columns not in (0, d):
        raise ValueError(
            "the merged moments need experts that are linear in the gate's features: the experts have "
            f"{columns} columns, the gate {d}."
        )


def _nonempty(assignment: Index) -> list[tuple[Index, int]]:
    return [(np.flatnonzero(assignment == j), int(j)) for j in np.unique(assignment)]


def _moments(pairs: Pairs, cell: Index, j: int, t2: Array) -> dict[str, Array]:
    weights = pairs.estimate_weights[cell]
    moments = {name: np.tensordot(weights, gap[cell, j], axes=1) for name, gap in pairs.blocks.items()}
    intercept = pairs.blocks["intercept"][cell, j] if "intercept" in pairs.blocks else np.zeros((cell.size, 0))
    if pairs.gate.shape[2]:
        gate = pairs.gate[cell, j] - t2
        moments["gate"] = weights @ gate
        if "coef" in moments and intercept.size:
            moments["coef"] = moments["coef"] + np.einsum("i,ir,id->rd", weights, intercept, gate)
    if "variance" in moments and intercept.size:
        moments["variance"] = moments["variance"] + np.einsum("i,ir,is->rs", weights, intercept, intercept)
    return moments


def _cell_moments(pairs: Pairs, assignment: Index) -> tuple[list[float], list[Array], list[float], list[float]]:
    """``|r - q ⊗ t| = |q| (|t - μ|² + e)^{1/2}`` with ``μ = r'q / |q|²``, for the two moments of every cell of the truth."""
    origin = np.zeros(pairs.gate.shape[2])
    factor, centre, offset, constant = [], [], [], []
    members = {j: cell for cell, j in _nonempty(assignment)}
    for j in range(pairs.n_atoms[1]):
        cell = members.get(j, np.zeros(0, dtype=np.int64))
        at_zero = _moments(pairs, cell, j, origin)
        moving = {
            "gate": pairs.estimate_weights[cell].sum(keepdims=True),
            "coef": at_zero.get("intercept", np.zeros(0)),
        }
        rest = sum(float(np.linalg.norm(moment)) for name, moment in at_zero.items() if name not in moving)
        for name, q in moving.items():
            moment, size = np.atleast_2d(at_zero.get(name, np.zeros(0))), float(q @ q)
            mu, e = origin, 0.0
            if size > 0.0 and origin.size and moment.size:
                mu = (q @ moment) / size
                e = float(((moment - np.outer(q, mu)) ** 2).sum()) / size
            else:
                size = 0.0
                rest += float(np.linalg.norm(moment))
            factor.append(size**0.5)
            centre.append(mu)
            offset.append(e)
        constant.append(rest)
    return factor, centre, offset, constant
