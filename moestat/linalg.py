"""Small dense linear algebra that stands singular matrices."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Array = NDArray[np.float64]


def solve_psd(matrix: Array, rhs: Array, tolerance: float = 1e-12) -> Array:
    """Minimum-norm solution of a symmetric positive semidefinite system, after scaling to a unit diagonal.

    Directions whose scaled eigenvalue is below `tolerance` times the largest get no component.
    """
    d = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    inverse = np.where(d > 0.0, 1.0 / np.where(d > 0.0, d, 1.0), 0.0)
    scaled = matrix * inverse * inverse[:, None]
    shape = (-1,) + (1,) * (rhs.ndim - 1)
    right = rhs * inverse.reshape(shape)
    try:
        factor = cho_factor(scaled, lower=True, check_finite=False)
        pivots = np.diag(factor[0])
        if pivots.min() > 1e-5:
            return np.asarray(cho_solve(factor, right, check_finite=False) * inverse.reshape(shape))
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(scaled)
    keep = values > tolerance * max(float(values[-1]), 1e-300)
    basis = vectors[:, keep]
    coordinates = (basis.T @ right) / values[keep].reshape(shape)
    return np.asarray((basis @ coordinates) * inverse.reshape(shape))


@cache
def _lower(size: int) -> NDArray[np.bool_]:
    return np.tri(size, dtype=bool)


def mirror(lower: Array) -> Array:
    """Symmetric matrices from their lower triangles (last two axes)."""
    return np.where(_lower(lower.shape[-1]), lower, lower.swapaxes(-1, -2))
