"""Small dense linear algebra that stands singular matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TOLERANCE = 1e-12  # on eigenvalues after scaling to a unit diagonal
SMALL_PIVOT = 1e-5  # of the Cholesky factor; below it the eigenvalues decide


def solve_psd(matrix: Array, rhs: Array) -> Array:
    """Minimum-norm solutions of symmetric positive semidefinite systems `(…, q, q)` with right sides `(…, q, m)`.

    The matrices are scaled to a unit diagonal; directions whose scaled eigenvalue is numerically zero get no component.
    """
    diagonal = matrix.diagonal(axis1=-2, axis2=-1)
    inverse = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, np.inf))[..., None]
    scaled = matrix * inverse * inverse.swapaxes(-1, -2)
    right = rhs * inverse
    try:
        if np.linalg.cholesky(scaled).diagonal(axis1=-2, axis2=-1).min() > SMALL_PIVOT:
            return np.asarray(np.linalg.solve(scaled, right) * inverse)
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(scaled)
    keep = values > TOLERANCE * np.maximum(values[..., -1:], 1e-300)
    weight = np.where(keep, 1.0 / np.where(keep, values, 1.0), 0.0)
    return np.asarray((vectors @ (weight[..., None] * (vectors.swapaxes(-1, -2) @ right))) * inverse)


def orthonormal_root(gram: Array) -> Array:
    """`R (q, r)` with `Rᵀ gram R = I` for a positive semidefinite matrix of numerical rank r."""
    diagonal = gram.diagonal()
    inverse = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, np.inf))
    values, vectors = np.linalg.eigh(gram * inverse * inverse[:, None])
    keep = values > TOLERANCE * max(float(values[-1]), 1e-300)
    return np.asarray(inverse[:, None] * vectors[:, keep] / np.sqrt(values[keep]))


@cache
def _lower(size: int) -> NDArray[np.bool_]:
    return np.tri(size, dtype=bool)


def mirror(lower: Array) -> Array:
    """Symmetric matrices from their lower triangles (last two axes)."""
    return np.where(_lower(lower.shape[-1]), lower, lower.swapaxes(-1, -2))


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread: the blocks are small, and threads over blocks are ours."""
    with _blas().limit(limits=1, user_api="blas"):
        yield
