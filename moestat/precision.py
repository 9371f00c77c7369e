"""Full covariances by the Cholesky factors of their precisions: packed parameters, floors and checks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def factors(scale: Array, size: int, full: bool = True) -> Array:
    """Lower-triangular `L (K, D, D)`, precision `L Lᵀ`, from scale parameters `(K, m)`: its lower triangle by rows, or its diagonal;
    a diagonal entry is `-log L_ii`."""
    rows, cols = np.tril_indices(size) if full else (np.arange(size),) * 2
    out = np.zeros((len(scale), size, size))
    out[:, rows, cols] = scale
    diagonal = np.arange(size)
    out[:, diagonal, diagonal] = np.exp(-out[:, diagonal, diagonal])
    return out


def covariances(factor: Array) -> Array:
    """Covariances `(L Lᵀ)^-1`, `(K, D, D)`."""
    inverse = np.linalg.inv(factor)
    return np.asarray(np.swapaxes(inverse, 1, 2) @ inverse)


def full_scale(covariance: Array, floor: Array) -> Array:
    """Scale parameters `(K, m)` of full covariances `(K, D, D)`, none below the floor `(D,)`.

    The floor is one on the conditional standard deviations `1/L_jj` (of column j given the later ones): the likelihood is a
    sum over the columns of L, of which `L_jj` gives the size and the regression of column j on the later ones the direction,
    so that the constrained maximiser is the free one with the columns cut to size.
    """
    size = covariance.shape[1]
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    # variances below 1e-18 of the diagonal are rounding; an exact fit may leave a negative one
    tiny = np.maximum(1e-150, 1e-9 * np.maximum(floor, np.sqrt(np.maximum(variance.max(axis=0), 0.0))))
    values, vectors = np.linalg.eigh(covariance / np.outer(tiny, tiny))
    # precision = rootᵀ root; its Cholesky factor by QR, which stands singular matrices
    root = np.swapaxes(vectors / tiny[:, None], 1, 2) / np.sqrt(np.maximum(values, 1.0))[:, :, None]
    upper = np.linalg.qr(root, mode="r")
    diagonal = np.arange(size)
    signs = np.where(np.diagonal(upper, axis1=1, axis2=2) < 0.0, -1.0, 1.0)
    factor = np.swapaxes(upper * signs[:, :, None], 1, 2).copy()
    factor /= np.maximum(factor[:, diagonal, diagonal] * floor, 1.0)[:, None, :]
    factor[:, diagonal, diagonal] = -np.log(factor[:, diagonal, diagonal])
    rows, cols = np.tril_indices(size)
    return np.asarray(factor[:, rows, cols])


def check_covariances(covariance: Array, name: str) -> None:
    """A ValueError unless the matrices `(K, D, D)` of `params[name]` are symmetric and positive definite."""
    if not np.allclose(covariance, covariance.swapaxes(1, 2), rtol=1e-8):
        raise ValueError(f"params[{name!r}] must be symmetric.")
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    if not (variance > 0).all():
        raise ValueError(f"params[{name!r}] must have positive diagonals; got {variance.tolist()}.")
    smallest = float(np.linalg.eigvalsh(covariance / np.sqrt(variance[:, :, None] * variance[:, None, :])).min())
    if smallest <= 1e-14:
        raise ValueError(f"params[{name!r}] must be positive definite; its correlation has eigenvalue {smallest:.1e}.")
