"""The blocks of two mixing measures side by side: differences of all atoms, in the theory's coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from moestat.mixing_measure import MixingMeasure

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Blocks = dict[str, Array]
# Other coordinates of the blocks of one measure, in which a loss compares atoms.
View = Callable[[Blocks], Blocks]

# Blocks that gauge "softmax" translates; together they are one vector of slopes, called "gate".
_TRANSLATED = ("gate", "gate_quadratic")
# Blocks that say what the weights say already: no part of the distance that defines the cells.
OUTSIDE = ("gate_intercept", "children")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Differences ``estimate atom i - truth atom j`` by block.

    Attributes
    ----------
    estimate_weights, truth_weights : ndarray (k,), (k*,)
    gauge : str
        That of both measures.
    gate : ndarray (k,k*,d)
        ``β1_i - β1*_j`` before any translation; d = 0 where the gauge translates no slopes.
    blocks : dict of name to ndarray (k,k*,...)
        The differences of all other blocks. ``"coef"`` (k,k*,D,p), ``"intercept"`` (k,k*,D); ``"variance"`` (k,k*,D,D) holds
        variances or covariance matrices, never standard deviations.
    truth : dict of name to ndarray (k*,...)
        The other blocks of the truth itself.
    outside : tuple of str
        Blocks that have no part in the distance of atoms.
    """

    estimate_weights: Array
    truth_weights: Array
    gauge: str
    gate: Array
    blocks: Blocks
    truth: Blocks
    outside: tuple[str, ...] = OUTSIDE

    @property
    def n_atoms(self) -> tuple[int, int]:
        """``(k, k*)``."""
        return int(self.gate.shape[0]), int(self.gate.shape[1])

    @property
    def names(self) -> tuple[str, ...]:
        """The blocks that the measures have."""
        return (*(("gate",) if self.gate.shape[2] else ()), *self.blocks)

    @cached_property
    def squared(self) -> Blocks:
        """Squared Euclidean norms (k,k*) of all blocks that no translation moves."""
        return {name: self.rows(name, each=False)[:, :, 0] for name in self.blocks}

    @cached_property
    def fixed(self) -> Array:
        """Squared distances (k,k*) that no translation of the gate changes."""
        seen = [values for name, values in self.squared.items() if name not in self.outside]
        return sum(seen, np.zeros(self.n_atoms))

    def rows(self, name: str, each: bool) -> Array:
        """Squared norms (k,k*,R) of a block, or of each of its rows (one class or response each)."""
        gap = self.blocks[name]
        squares: Array = (gap**2).sum(axis=tuple(range(3 if each else 2, gap.ndim)))
        return squares if squares.ndim == 3 else squares[:, :, None]

    def distances(self, t2: Array) -> Array:
        """Squared distances of atoms (k,k*) after the translation of the estimate by ``-t2``."""
        moved: Array = ((self.gate - t2) ** 2).sum(axis=-1) + self.fixed
        return moved

    def take(self, atoms: Index, truths: Sequence[int]) -> Pairs:
        """The pairs of some atoms of the estimate with some of the truth."""
        columns = np.asarray(truths, dtype=np.int64)
        return Pairs(
            self.estimate_weights[atoms],
            self.truth_weights[columns],
            self.gauge,
            self.gate[np.ix_(atoms, columns)],
            {name: gap[np.ix_(atoms, columns)] for name, gap in self.blocks.items()},
            {name: block[columns] for name, block in self.truth.items()},
            self.outside,
        )


def pair_blocks(
    estimate: MixingMeasure,
    truth: MixingMeasure,
    view: View | None = None,
    outside: tuple[str, ...] = OUTSIDE,
) -> Pairs:
    """Lay the atoms of two mixing measures side by side.

    Raises
    ------
    ValueError
        If the measures have different blocks (experts of different families, or only one of them a gate) or gauges, or a
        block has rows of different shapes.
    """
    if set(estimate.atoms) != set(truth.atoms):
        raise ValueError(
            "estimate and truth must be of the same family of gates and experts: the blocks are "
            f"{sorted(estimate.atoms)} and {sorted(truth.atoms)}."
        )
    if estimate.gauge != truth.gauge:
        raise ValueError(f"estimate and truth must have one gauge, got {estimate.gauge!r} and {truth.gauge!r}.")
    for name, block in estimate.atoms.items():
        if block.shape[1:] != truth.atoms[name].shape[1:]:
            raise ValueError(
                f"estimate and truth must have atoms of one shape: rows of {name!r} have shapes {block.shape[1:]} and "
                f"{truth.atoms[name].shape[1:]}."
            )
    sides = [canonical_blocks(measure) for measure in (estimate, truth)]
    left, right = sides if view is None else map(view, sides)
    moved = [name for name in _TRANSLATED if name in left] if truth.gauge == "softmax" else []
    slopes = [
        _flat([blocks.pop(name) for name in moved], m.n_atoms) for blocks, m in ((left, estimate), (right, truth))
    ]
    return Pairs(
        estimate_weights=estimate.weights,
        truth_weights=truth.weights,
        gauge=truth.gauge,
        gate=slopes[0][:, None] - slopes[1][None, :],
        blocks={name: left[name][:, None] - right[name][None, :] for name in left},
        truth=right,
        outside=outside,
    )


def canonical_blocks(measure: MixingMeasure) -> Blocks:
    """Blocks in the theory's coordinates: coef (K,D,p), intercept (K,D), variance (K,D,D); the others as they are."""
    k = measure.n_atoms
    blocks: Blocks = {}
    for name, block in measure.atoms.items():
        if name == "coef" and block.ndim == 2:
            blocks[name] = block[:, None, :]
        elif name == "intercept":
            blocks[name] = block.reshape(k, -1)
        elif name == "scale":
            scale = block.reshape(k, -1)
            # A covariance says what the scales say, and more.
            if "covariance" not in measure.atoms:
                blocks["variance"] = scale[:, :, None] ** 2 * np.eye(scale.shape[1])
        elif name == "gate_quadratic" and block.ndim == 3:
            # x'Ax sees the symmetric part alone.
            blocks[name] = 0.5 * (block + block.transpose(0, 2, 1))
        else:
            blocks["variance" if name == "covariance" else name] = block
    return blocks


def _flat(blocks: list[Array], k: int) -> Array:
    """Some blocks as one vector (k,d) an atom."""
    return np.concatenate([np.zeros((k, 0)), *(block.reshape(k, -1) for block in blocks)], axis=1)
