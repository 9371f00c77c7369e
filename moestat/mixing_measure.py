"""Mixing measures: the atoms and weights of a mixture of experts, free of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Name of the block in a MixingMeasure -> name in the parameter dictionary of a ConditionalMixture.
_BLOCKS = {
    "gate": "gate_coef",
    "coef": "expert_coef",
    "intercept": "expert_intercept",
    "scale": "expert_scale",
    "covariance": "expert_covariance",
}
# Blocks whose moments of a cell are known.
MERGEABLE = ("gate", "coef", "intercept", "scale", "covariance")
# What leaves the density unchanged: translations of log-weights and gate slopes, of log-weights alone, nothing.
GAUGES = ("softmax", "weights", "none")
# exp overflows beyond 709; larger intercepts are brought below by a translation, which no loss sees.
_LARGEST_LOG_WEIGHT = 700.0


@dataclass(frozen=True, eq=False)
class MixingMeasure:
    r"""Mixing measure ``G = Σ_i w_i δ(β_i, a_i, b_i, σ_i)`` of a mixture of experts.

    For a softmax gate ``w_i = exp(β0_i)``: the measure is not normalised and its mass depends on the gauge
    (parameter dictionaries are read in the gauge in which the last expert's gate is zero). Constant weights and those of a
    Gaussian gate are probabilities, of a sigmoid gate they are ``σ(β0_i)``. `ConditionalMixture.mixing_measure` knows
    the weights, blocks and gauge of every gate.

    Parameters
    ----------
    weights : array_like (K,)
        Non-negative and finite, not all zero.
    atoms : mapping of name to array_like (K, ...)
        Blocks ``"gate"`` (K,d), ``"coef"`` (K,p) or (K,D,p), ``"intercept"`` (K,) or (K,D), ``"scale"`` (K,) or
        (K,D), ``"covariance"`` (K,D,D). ``"scale"`` holds *standard deviations*; the losses compare *variances*,
        as the theory does. Any further blocks may be there; `moestat.losses.kinds` lists those of each setting.
    gauge : {"softmax", "weights", "none"}
        Which translations leave the density unchanged: of log-weights and of the slopes in ``"gate"`` and
        ``"gate_quadratic"`` (a softmax of anything linear in them); of log-weights alone (Laplace, cosine and activation
        gates); none (constant weights, Gaussian and sigmoid gates).

    Raises
    ------
    ValueError
        If weights or blocks have a wrong shape, are not finite, a scale is not positive, or the gauge is unknown.

    Examples
    --------
    >>> MixingMeasure([0.3, 0.7], {"gate_location": [[0.0], [1.0]], "intercept": [0.0, 5.0]}, gauge="none")
    MixingMeasure(n_atoms=2, gate_location (2, 1), intercept (2,), gauge='none')
    """

    weights: Array
    atoms: Mapping[str, Array]
    gauge: str = "softmax"

    def __post_init__(self) -> None:
        weights = _frozen_copy(self.weights, "weights")
        if weights.ndim != 1 or weights.size == 0:
            raise ValueError(f"weights must be a non-empty vector (K,), got shape {weights.shape}.")
        if np.any(weights < 0.0) or not weights.sum() > 0.0:
            raise ValueError(f"weights must be non-negative and not all zero, got {weights.tolist()}.")
        if not self.atoms:
            raise ValueError("atoms must hold at least one block, for example 'intercept' (K,), got none.")
        blocks: dict[str, Array] = {}
        for name, block in self.atoms.items():
            array = _frozen_copy(block, f"atoms[{name!r}]")
            if array.ndim == 0 or array.shape[0] != weights.size:
                raise ValueError(f"atoms[{name!r}] must have {weights.size} rows, one per weight, got {array.shape}.")
            if name == "gate" and array.ndim != 2:
                raise ValueError(f"atoms['gate'] must have shape (K,d), got {array.shape}.")
            if name == "scale" and np.any(array <= 0.0):
                raise ValueError(f"atoms['scale'] must be positive standard deviations, got {array.tolist()}.")
            blocks[name] = array
        if self.gauge not in GAUGES:
            raise ValueError(f"gauge must be one of {list(GAUGES)}, got {self.gauge!r}.")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "atoms", MappingProxyType(blocks))

    @classmethod
    def from_params(cls, params: Mapping[str, ArrayLike]) -> MixingMeasure:
        """Mixing measure of a raw parameter dictionary, in the gauge in which the last expert's gate is zero.

        Parameters
        ----------
        params : mapping
            ``gate_intercept`` (K,), ``expert_intercept`` (K,) and, where present, ``gate_coef`` (K,d),
            ``expert_coef`` (K,p), ``expert_scale`` (K,), ``expert_covariance`` (K,D,D).

        Raises
        ------
        ValueError
            If ``gate_intercept`` is missing or a block is malformed.
        """
        if "gate_intercept" not in params:
            raise ValueError(f"params must hold 'gate_intercept' (K,), got the keys {sorted(params)}.")
        log_weights = np.asarray(params["gate_intercept"], dtype=np.float64)
        log_weights = log_weights - log_weights[-1]
        log_weights = log_weights - max(0.0, float(log_weights.max()) - _LARGEST_LOG_WEIGHT)
        atoms: dict[str, Array] = {}
        for block, name in _BLOCKS.items():
            if name not in params:
                continue
            array = np.asarray(params[name], dtype=np.float64)
            if block == "gate":
                if array.ndim == 2 and array.shape[1] == 0:
                    continue
                array = array - array[-1]
            atoms[block] = array
        return cls(np.exp(log_weights), atoms)

    @property
    def n_atoms(self) -> int:
        """Number of atoms K."""
        return int(self.weights.size)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.atoms.items())
        gauge = "" if self.gauge == "softmax" else f", gauge={self.gauge!r}"
        return f"MixingMeasure(n_atoms={self.n_atoms}, {shapes}{gauge})"

    def permuted(self, order: Sequence[int] | NDArray[np.int64]) -> MixingMeasure:
        """The same measure with atom ``order[i]`` at place i.

        Raises
        ------
        ValueError
            If ``order`` is not a permutation of ``0..K-1``.
        """
        index = np.asarray(order, dtype=np.int64)
        if sorted(index.tolist()) != list(range(self.n_atoms)):
            raise ValueError(f"order must be a permutation of 0..{self.n_atoms - 1}, got {index.tolist()}.")
        atoms = {name: array[index] for name, array in self.atoms.items()}
        return MixingMeasure(self.weights[index], atoms, self.gauge)

    def translated(self, t1: float = 0.0, t2: ArrayLike = 0.0, quadratic: ArrayLike = 0.0) -> MixingMeasure:
        """Gauge translation ``β0_i + t1, β1_i + t2``, which leaves the conditional density unchanged.

        Parameters
        ----------
        t1 : float
        t2 : array_like (d,) or scalar
        quadratic : array_like (d,d) or scalar
            Translation of the block ``"gate_quadratic"``.

        Raises
        ------
        ValueError
            If a translation is not zero that is none of the gauge, or there is no block for it.
        """
        if t1 != 0.0 and self.gauge == "none":
            raise ValueError(f"the weights of gauge 'none' are what they are, got t1 = {t1}; leave t1 at 0.")
        atoms = dict(self.atoms)
        for block, name, given in (("gate", "t2", t2), ("gate_quadratic", "quadratic", quadratic)):
            shift = np.asarray(given, dtype=np.float64)
            if not np.any(shift != 0.0):
                continue
            if block not in atoms:
                raise ValueError(
                    f"a gate without {block!r} (a constant gate) has no slopes to translate, got {name} = "
                    f"{shift.tolist()}; leave {name} at 0."
                )
            if self.gauge != "softmax":
                raise ValueError(
                    f"only gauge 'softmax' translates slopes, this is {self.gauge!r}, got {name} = {shift.tolist()}; "
                    f"leave {name} at 0."
                )
            atoms[block] = atoms[block] + shift
        return MixingMeasure(self.weights * np.exp(t1), atoms, self.gauge)

    def merged(self, cells: Iterable[Sequence[int] | NDArray[np.int64]]) -> MixingMeasure:
        r"""One atom per cell, with the moments of the cell.

        With ``p_i`` the weights normalised in the cell: ``β = Σ p β_i``, ``b = Σ p b_i``,
        ``a = Σ p a_i + Σ p (β_i - β)(b_i - b)``, ``σ = Σ p σ_i + Σ p (b_i - b)²`` (σ the variance). To the order at
        which an over-specified cell is seen by the density, this atom replaces the cell; plain averages of ``a`` and
        ``σ`` do not. Without slopes that translate (``gauge`` other than ``"softmax"``) gate and experts do not
        interact, and ``a`` is the average.

        Parameters
        ----------
        cells : iterable of index sequences
            A partition of ``0..K-1``; an empty cell gives no atom.

        Raises
        ------
        ValueError
            If the cells are no partition, the experts are not linear in the features of the gate, or there are blocks
            whose moments are not known.
        """
        groups = [np.asarray(cell, dtype=np.int64) for cell in cells]
        groups = [group for group in groups if group.size]
        if sorted(np.concatenate(groups).tolist()) != list(range(self.n_atoms)):
            raise ValueError(f"cells must partition 0..{self.n_atoms - 1}, got {[g.tolist() for g in groups]}.")
        if "intercept" not in self.atoms:
            raise ValueError(f"merging needs the block 'intercept', got the blocks {sorted(self.atoms)}.")
        unknown = sorted(set(self.atoms) - set(MERGEABLE))
        if unknown:
            raise ValueError(f"moment matching is known for the blocks {list(MERGEABLE)}, got {unknown} besides.")
        if self.gauge == "softmax":
            check_linear(self.atoms)
        merged = [self._merge_cell(group) for group in groups]
        atoms = {name: np.stack([atom[name] for atom in merged]) for name in self.atoms}
        return MixingMeasure(np.array([self.weights[group].sum() for group in groups]), atoms, self.gauge)

    def _merge_cell(self, cell: NDArray[np.int64]) -> dict[str, Any]:
        weights = self.weights[cell]
        total = float(weights.sum())
        share = weights / total if total > 0.0 else np.full(cell.size, 1.0 / cell.size)
        block = {name: array[cell] for name, array in self.atoms.items()}
        mean: dict[str, Any] = {name: np.tensordot(share, array, axes=1) for name, array in block.items()}
        spread = block["intercept"] - mean["intercept"]
        if self.gauge == "softmax" and "gate" in block and "coef" in block:
            mean["coef"] = mean["coef"] + np.einsum("i,i...,id->...d", share, spread, block["gate"] - mean["gate"])
        if "scale" in block:
            mean["scale"] = np.sqrt(np.tensordot(share, block["scale"] ** 2 + spread**2, axes=1))
        if "covariance" in block:
            mean["covariance"] = mean["covariance"] + np.einsum("i,ir,is->rs", share, spread, spread)
        return mean


def check_linear(atoms: Mapping[str, Array]) -> None:
    """Refuse moment matching of slopes where gate and experts do not share their features.

    Raises
    ------
    ValueError
        If there is a gate and ``coef`` has not one column per gate slope.
    """
    if "gate" in atoms and "coef" in atoms and atoms["coef"].shape[-1] != atoms["gate"].shape[1]:
        raise ValueError(
            "moment matching needs experts that are linear in the gate's features: 'coef' has "
            f"{atoms['coef'].shape[-1]} columns, 'gate' {atoms['gate'].shape[1]}."
        )


def _frozen_copy(values: ArrayLike, name: str) -> Array:
    array = np.array(values, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite, got {array.tolist()}.")
    array.setflags(write=False)
    return array
