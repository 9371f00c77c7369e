"""The blocks of two mixing measures side by side: differences of all atoms, in the theory's coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moestat.mixing_measure import MixingMeasure

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Differences ``estimate atom i - truth atom j``, and their squares by block.

    Attributes
    ----------
    estimate_weights, truth_weights : ndarray (k,), (k*,)
    gate : ndarray (k,k*,d)
        ``β1_i - β1*_j`` before any translation; d = 0 without a gate.
    coef : ndarray (k,k*,D,p)
    intercept : ndarray (k,k*,D)
    variance : ndarray (k,k*,D,D)
        Variances (D = 1) or covariance matrices, never standard deviations.
    squared : dict of name to ndarray (k,k*)
        Squared Euclidean norms of ``coef``, ``intercept``, ``variance``.
    names : tuple of str
        The blocks that the measures have.
    """

    estimate_weights: Array
    truth_weights: Array
    gate: Array
    coef: Array
    intercept: Array
    variance: Array
    squared: dict[str, Array]
    names: tuple[str, ...]

    @property
    def n_atoms(self) -> tuple[int, int]:
        """``(k, k*)``."""
        return int(self.gate.shape[0]), int(self.gate.shape[1])

    @property
    def fixed(self) -> Array:
        """Squared distances (k,k*) that no translation of the gate changes."""
        total: Array = self.squared["coef"] + self.squared["intercept"] + self.squared["variance"]
        return total

    def distances(self, t2: Array) -> Array:
        """Squared distances of atoms (k,k*) after the translation of the estimate by ``-t2``."""
        moved: Array = ((self.gate - t2) ** 2).sum(axis=-1) + self.fixed
        return moved


def pair_blocks(estimate: MixingMeasure, truth: MixingMeasure) -> Pairs:
    """Lay the atoms of two mixing measures side by side.

    Raises
    ------
    ValueError
        If the measures have different blocks (experts of different families, or only one of them a gate), or a block
        has rows of different shapes.
    """
    if set(estimate.atoms) != set(truth.atoms):
        raise ValueError(
            "estimate and truth must be of the same family of gates and experts: the blocks are "
            f"{sorted(estimate.atoms)} and {sorted(truth.atoms)}."
        )
    for name, block in estimate.atoms.items():
        if block.shape[1:] != truth.atoms[name].shape[1:]:
            raise ValueError(
                f"estimate and truth must have atoms of one shape: rows of {name!r} have shapes {block.shape[1:]} and "
                f"{truth.atoms[name].shape[1:]}."
            )
    left, right = _canonical(estimate), _canonical(truth)
    gap = {name: left[name][:, None] - right[name][None, :] for name in left}
    squared = {
        name: (gap[name] ** 2).sum(axis=tuple(range(2, gap[name].ndim))) for name in ("coef", "intercept", "variance")
    }
    return Pairs(
        estimate_weights=estimate.weights,
        truth_weights=truth.weights,
        gate=gap["gate"],
        coef=gap["coef"],
        intercept=gap["intercept"],
        variance=gap["variance"],
        squared=squared,
        names=tuple(name for name in ("gate", "coef", "intercept", "variance") if left[name].size),
    )


def _canonical(measure: MixingMeasure) -> dict[str, Array]:
    """Blocks with all axes: gate (K,d), coef (K,D,p), intercept (K,D), variance (K,D,D); absent ones are empty."""
    k = measure.n_atoms
    intercept = measure.atoms.get("intercept", np.zeros((k, 0)))
    intercept = intercept.reshape(k, -1)
    coef = measure.atoms.get("coef", np.zeros((k, intercept.shape[1], 0)))
    coef = coef[:, None, :] if coef.ndim == 2 else coef
    if "covariance" in measure.atoms:
        variance = measure.atoms["covariance"]
    elif "scale" in measure.atoms:
        scale = measure.atoms["scale"].reshape(k, -1)
        variance = scale[:, :, None] ** 2 * np.eye(scale.shape[1])
    else:
        variance = np.zeros((k, 0, 0))
    return {
        "gate": measure.atoms.get("gate", np.zeros((k, 0))),
        "coef": coef,
        "intercept": intercept,
        "variance": variance,
    }
