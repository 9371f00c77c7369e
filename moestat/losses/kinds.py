r"""The losses as data: for each kind, the radial sums that a translation has to minimise and the terms at a translation.

With differences ``Δβ = β1_i - β1*_j - t2``, ``Δa``, ``Δb``, ``Δσ`` (σ the variance), weights ``w_i = exp(β0_i)`` and ``|.|`` the
Euclidean norm of the blocks joined (Nguyen, Nguyen and Ho, 2023), every kind adds ``Σ_j |Σ_{A_j} w_i - e^{t1} w*_j|`` to

* ``D1``        ``Σ_j Σ_{A_j} w_i |(Δβ, Δa, Δb, Δσ)|``
* ``D2``        over cells: ``w_i [|(Δβ, Δb)|^r̄ + |(Δa, Δσ)|^{r̄/2}]``, r̄ = 2|A_j|; exact cells as D1
* ``D2sharp``   over cells: ``w_i [|Δβ|² + |Δa|² + |Δb|^r̄ + |Δσ|^{r̄/2}]``; exact cells as D1
* ``merged``    ``|Σ w Δβ| + |Σ w Δb| + |Σ w (Δa + Δb Δβ')| + |Σ w (Δσ + Δb Δb')|``, sums over a cell
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moestat.losses.blocks import Pairs
from moestat.losses.gauge import RadialSum
from moestat.losses.rbar import rbar

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Blocks that stand in one norm, and the power of that norm.
Group = tuple[tuple[str, ...], float]
_JOINT: tuple[Group, ...] = ((("gate", "coef", "intercept", "variance"), 1.0),)


class LossKind(Protocol):
    """What the infimum over translations needs to know of a loss."""

    def radial_sum(self, pairs: Pairs, assignments: Index) -> RadialSum:
        """The loss without its mass terms as a function of t2, for assignments (A,k)."""

    def terms(self, pairs: Pairs, assignment: Index, t2: Array) -> dict[str, float]:
        """Contributions of the blocks for one assignment (k,) at one translation; they add up to the loss."""


@dataclass(frozen=True)
class AtomwiseLoss:
    """A loss that sums over atoms; ``over(m)`` gives the norms and powers in a cell of ``m >= 2`` atoms."""

    over: Callable[[int], tuple[Group, ...]]

    def _groups(self, size: int) -> tuple[Group, ...]:
        return _JOINT if size < 2 else self.over(size)

    def radial_sum(self, pairs: Pairs, assignments: Index) -> RadialSum:
        """See `LossKind`."""
        n, k = assignments.shape
        atoms = np.arange(k)
        # (A,k): the size of the cell in which each atom lies.
        sizes = (assignments[:, :, None] == assignments[:, None, :]).sum(axis=2)
        squared = {name: values[atoms, assignments] for name, values in pairs.squared.items()}
        offset, power, constant = np.zeros((n, k)), np.ones((n, k)), np.zeros((n, k))
        for size in np.unique(sizes):
            here = sizes == size
            for names, exponent in self._groups(int(size)):
                rest = sum((squared[name] for name in names if name != "gate"), np.zeros((n, k)))
                if "gate" in names:
                    offset, power = np.where(here, rest, offset), np.where(here, exponent, power)
                else:
                    constant = np.where(here, constant + rest ** (0.5 * exponent), constant)
        weights = pairs.estimate_weights
        return RadialSum(
            factor=np.broadcast_to(weights, (n, k)),
            centre=pairs.gate[atoms, assignments],
            offset=offset,
            power=power,
            constant=constant @ weights,
        )

    def terms(self, pairs: Pairs, assignment: Index, t2: Array) -> dict[str, float]:
        """A norm over several blocks is shared among them in proportion to their squares."""
        sizes = np.bincount(assignment)
        total = dict.fromkeys(pairs.names, 0.0)
        for i, j in enumerate(assignment):
            squared = {name: float(values[i, j]) for name, values in pairs.squared.items()}
            squared["gate"] = float(((pairs.gate[i, j] - t2) ** 2).sum())
            for names, exponent in self._groups(int(sizes[j])):
                radius = sum(squared[name] for name in names)
                if radius > 0.0:
                    value = float(pairs.estimate_weights[i]) * radius ** (0.5 * exponent)
                    for name in names:
                        if name in total:
                            total[name] += value * squared[name] / radius
        return total


@dataclass(frozen=True)
class MergedLoss:
    """The loss of the merged moments of the cells; zero whenever each cell has the truth's moments."""

    def radial_sum(self, pairs: Pairs, assignments: Index) -> RadialSum:
        """See `LossKind`: two norms a cell are affine in t2, that of the slopes' and that of the coefficients' moment."""
        _check(pairs)
        rows = [_cell_moments(pairs, assignment) for assignment in assignments]
        factor, centre, offset, constant = (np.stack([np.stack(part) for part in parts]) for parts in zip(*rows))
        return RadialSum(factor, centre, offset, np.ones_like(factor), constant.sum(axis=1))

    def terms(self, pairs: Pairs, assignment: Index, t2: Array) -> dict[str, float]:
        """The norms of the four moments, summed over cells."""
        _check(pairs)
        total = dict.fromkeys(pairs.names, 0.0)
        for cell, j in _nonempty(assignment):
            moments = _moments(pairs, cell, j, t2)
            for name in total:
                total[name] += float(np.linalg.norm(moments[name]))
        return total


def _check(pairs: Pairs) -> None:
    if pairs.gate.shape[2] and pairs.coef.shape[3] not in (0, pairs.gate.shape[2]):
        raise ValueError(
            "the merged moments need experts that are linear in the gate's features: the experts have "
            f"{pairs.coef.shape[3]} columns, the gate {pairs.gate.shape[2]}."
        )


def _nonempty(assignment: Index) -> list[tuple[Index, int]]:
    return [(np.flatnonzero(assignment == j), int(j)) for j in np.unique(assignment)]


def _moments(pairs: Pairs, cell: Index, j: int, t2: Array) -> dict[str, Array]:
    weights = pairs.estimate_weights[cell]
    gate, coef, intercept = pairs.gate[cell, j] - t2, pairs.coef[cell, j], pairs.intercept[cell, j]
    moments: dict[str, Array] = {
        "gate": weights @ gate,
        "coef": np.tensordot(weights, coef, axes=1),
        "intercept": weights @ intercept,
        "variance": np.tensordot(weights, pairs.variance[cell, j], axes=1),
    }
    if moments["coef"].size and gate.size:
        moments["coef"] = moments["coef"] + np.einsum("i,ir,id->rd", weights, intercept, gate)
    if moments["variance"].size:
        moments["variance"] = moments["variance"] + np.einsum("i,ir,is->rs", weights, intercept, intercept)
    return moments


def _cell_moments(pairs: Pairs, assignment: Index) -> tuple[list[float], list[Array], list[float], list[float]]:
    """``|r - q ⊗ t| = |q| (|t - μ|² + e)^{1/2}`` with ``μ = r'q / |q|²``, for the two moments of every cell of the truth."""
    d = pairs.gate.shape[2]
    factor: list[float] = []
    centre: list[Array] = []
    offset: list[float] = []
    constant: list[float] = []
    origin = np.zeros(d)
    members = {j: cell for cell, j in _nonempty(assignment)}
    for j in range(pairs.n_atoms[1]):
        if j not in members:
            factor += [0.0, 0.0]
            centre += [origin, origin]
            offset += [0.0, 0.0]
            constant.append(0.0)
            continue
        weights = pairs.estimate_weights[members[j]]
        at_zero = _moments(pairs, members[j], j, origin)
        rest = float(np.linalg.norm(at_zero["intercept"]) + np.linalg.norm(at_zero["variance"]))
        for moment, q in (
            (at_zero["gate"][None, :], weights.sum(keepdims=True)),
            (at_zero["coef"], at_zero["intercept"]),
        ):
            size = float(q @ q)
            if size > 0.0 and moment.size:
                mu = (q @ moment) / size
                factor.append(size**0.5)
                centre.append(mu)
                offset.append(float(((moment - np.outer(q, mu)) ** 2).sum()) / size)
            else:
                factor.append(0.0)
                centre.append(origin)
                offset.append(0.0)
                rest += float(np.linalg.norm(moment))
        constant.append(rest)
    return factor, centre, offset, constant


def _published(m: int) -> tuple[Group, ...]:
    return ((("gate", "intercept"), float(rbar(m))), (("coef", "variance"), rbar(m) / 2))


def _sharp(m: int) -> tuple[Group, ...]:
    r = float(rbar(m))
    return ((("gate",), 2.0), (("coef",), 2.0), (("intercept",), r), (("variance",), r / 2))


# A new loss is one row here.
LOSSES: dict[str, LossKind] = {
    "D1": AtomwiseLoss(lambda m: _JOINT),
    "D2": AtomwiseLoss(_published),
    "D2sharp": AtomwiseLoss(_sharp),
    "merged": MergedLoss(),
}
