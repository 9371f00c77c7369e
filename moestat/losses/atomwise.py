"""Losses that sum over atoms: norms of blocks and their powers as data, and what a translation has to minimise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moestat.losses.blocks import OUTSIDE, Array, Index, Pairs, View, pair_blocks
from moestat.losses.gauge import RadialSum
from moestat.mixing_measure import GAUGES, MixingMeasure


class Norm(NamedTuple):
    """``|(blocks joined)|^power``, or the sum of that over the rows (classes) of the blocks if ``each``.

    The block ``"*"`` stands for all blocks that no norm of the cell names.
    """

    blocks: tuple[str, ...]
    power: float = 1.0
    each: bool = False


Norms = tuple[Norm, ...]
# Norms of a cell as a function of its number of atoms m >= 2.
Over = Callable[[int], Norms]


@dataclass(frozen=True, kw_only=True)
class LossKind:
    """What every loss says of itself, beside its formula.

    Attributes
    ----------
    gauges : tuple of str
        Gauges of the measures it is for.
    blocks : tuple of str, optional
        The blocks it has exponents for; any by default.
    needs : tuple of str
        Blocks without which it has no meaning.
    mass : {"all", "inexact", "none"}
        The cells in which masses are compared: all, those that have not exactly one atom, none.
    view : callable, optional
        Coordinates in which atoms are compared.
    outside : tuple of str
        Blocks that have no part in the distance that defines the cells.
    """

    gauges: tuple[str, ...] = GAUGES
    blocks: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    mass: str = "all"
    view: View | None = None
    outside: tuple[str, ...] = OUTSIDE

    def pairs(self, estimate: MixingMeasure, truth: MixingMeasure, name: str) -> Pairs:
        """The atoms side by side, in the coordinates of this loss.

        Raises
        ------
        ValueError
            If the measures are not of one family, or not of one that this loss is for.
        """
        if truth.gauge not in self.gauges:
            raise ValueError(f"{name!r} is for measures of gauge {' or '.join(self.gauges)}, got {truth.gauge!r}.")
        missing = sorted(set(self.needs) - set(truth.atoms))
        if missing:
            raise ValueError(f"{name!r} needs the blocks {missing} besides {sorted(truth.atoms)}.")
        pairs = pair_blocks(estimate, truth, self.view, self.outside)
        unknown = sorted(set(pairs.names) - set(self.blocks or pairs.names))
        if unknown:
            raise ValueError(f"{name!r} has exponents for the blocks {list(self.blocks or ())}, got {unknown} besides.")
        return pairs

    def radial_sum(self, pairs: Pairs, assignments: Index) -> RadialSum:
        """The loss without its mass terms as a function of t2, for assignments (A,k)."""
        raise NotImplementedError

    def terms(self, pairs: Pairs, assignment: Index, t2: Array) -> dict[str, float]:
        """Contributions of the blocks for one assignment (k,) at one translation; they add up to the loss."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class AtomwiseLoss(LossKind):
    """A sum over atoms of powers of norms.

    Attributes
    ----------
    exact : tuple of Norm
        In a cell of one atom.
    over : callable
        ``m -> norms`` in a cell of ``m >= 2`` atoms.
    weighted : bool
        Each atom counts with its weight; else with one.
    at_zero : (block, callable), optional
        Other norms ``m -> norms`` for over-specified cells whose atom of the truth has this block at zero.
    """

    exact: Norms
    over: Over
    weighted: bool = True
    at_zero: tuple[str, Over] | None = None

    def radial_sum(self, pairs: Pairs, assignments: Index) -> RadialSum:
        """See `LossKind`."""
        n, k = assignments.shape
        atoms = np.arange(k)
        # (A,k): the size of the cell in which each atom lies, and whether it has norms of its own.
        sizes = (assignments[:, :, None] == assignments[:, None, :]).sum(axis=2)
        zero = self._zero(pairs)[assignments]
        offset, power, constant = np.zeros((n, k)), np.ones((n, k)), np.zeros((n, k))
        for size in np.unique(sizes):
            for flag in np.unique(zero):
                here = (sizes == size) & (zero == flag)
                for norm in self._norms(int(size), bool(flag), pairs):
                    value = self._fixed(norm, pairs)[atoms, assignments]
                    if _moves(norm, pairs):
                        offset, power = np.where(here, value, offset), np.where(here, norm.power, power)
                    else:
                        constant = np.where(here, constant + value, constant)
        weights = self._weights(pairs)
        return RadialSum(
            factor=np.broadcast_to(weights, (n, k)),
            centre=pairs.gate[atoms, assignments],
            offset=offset,
            power=power,
            constant=constant @ weights,
        )

    def terms(self, pairs: Pairs, assignment: Index, t2: Array) -> dict[str, float]:
        """A norm over several blocks is shared among them in proportion to their squares."""
        sizes, zero = np.bincount(assignment, minlength=pairs.n_atoms[1]), self._zero(pairs)
        total = dict.fromkeys(pairs.names, 0.0)
        for i, j in enumerate(assignment):
            for norm in self._norms(int(sizes[j]), bool(zero[j]), pairs):
                rows = {
                    name: ((pairs.gate[i, j] - t2) ** 2).sum(keepdims=True)
                    if name not in pairs.blocks
                    else pairs.rows(name, norm.each)[i, j]
                    for name in norm.blocks
                }
                joined = sum(rows.values(), np.zeros(1))
                scale = np.where(joined > 0.0, joined, 1.0) ** (0.5 * norm.power - 1.0)
                for name, squares in rows.items():
                    total[name] += float(self._weights(pairs)[i] * (scale * squares).sum())
        return total

    def matching_costs(self, pairs: Pairs, t2: Array) -> Array:
        """Cost (k,k*) of each pair of atoms as a cell of its own at one translation, without its mass term."""
        costs = np.zeros(pairs.n_atoms)
        moved = ((pairs.gate - t2) ** 2).sum(axis=-1)
        for norm in self._norms(1, False, pairs):
            value = self._fixed(norm, pairs)
            costs += (value + moved) ** (0.5 * norm.power) if _moves(norm, pairs) else value
        return costs * self._weights(pairs)[:, None]

    def _weights(self, pairs: Pairs) -> Array:
        return pairs.estimate_weights if self.weighted else np.ones(pairs.estimate_weights.size)

    def _zero(self, pairs: Pairs) -> NDArray[np.bool_]:
        if self.at_zero is None:
            return np.zeros(pairs.n_atoms[1], dtype=bool)
        block = pairs.truth[self.at_zero[0]]
        chosen: NDArray[np.bool_] = (block.reshape(block.shape[0], -1) == 0.0).all(axis=1)
        return chosen

    def _norms(self, size: int, zero: bool, pairs: Pairs) -> Norms:
        """The norms of a cell, over the blocks that are there."""
        over = self.at_zero[1] if zero and self.at_zero is not None else self.over
        norms = self.exact if size < 2 else over(size)
        named = {name for norm in norms for name in norm.blocks}
        rest = tuple(name for name in pairs.names if name not in named and name not in self.outside)
        filled = (
            norm._replace(blocks=(*(b for b in norm.blocks if b in pairs.names), *(rest if "*" in norm.blocks else ())))
            for norm in norms
        )
        return tuple(norm for norm in filled if norm.blocks)

    def _fixed(self, norm: Norm, pairs: Pairs) -> Array:
        """A norm (k,k*): its value, or where translations move it the squares that they leave alone."""
        if _moves(norm, pairs):
            return sum((pairs.squared[name] for name in norm.blocks if name in pairs.blocks), np.zeros(pairs.n_atoms))
        joined = sum((pairs.rows(name, norm.each) for name in norm.blocks), np.zeros(1))
        value: Array = (joined ** (0.5 * norm.power)).sum(axis=-1)
        return value


def _moves(norm: Norm, pairs: Pairs) -> bool:
    return "gate" in norm.blocks and "gate" not in pairs.blocks
